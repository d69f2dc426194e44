package memengine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// A Client is the driver of one node. It implements [engine.Engine] and [engine.Session].
type Client struct {
	engine *Engine
	sink   engine.Sink
	tasks  sync.WaitGroup
	closed chan struct{}
	wake   chan struct{} // has a token if there is something to hand over

	// Guarded by the lock of the engine.

	down    bool // cut, or not open
	number  int  // of connections: calls of older ones fail
	follows map[string]bool
	queue   []delivery
	last    time.Time // when the last of the queue is due
}

// delivery is a record on its way to a sink, or a call of Up.
type delivery struct {
	due    time.Time
	chat   string
	record engine.Record
	data   []byte // Sent(chat, data) instead, if not nil
	up, is bool   // Up(up) instead, if is
}

// Client returns the driver of another node.
func (e *Engine) Client() *Client {
	return &Client{
		engine:  e,
		down:    true,
		closed:  make(chan struct{}),
		wake:    make(chan struct{}, 1),
		follows: make(map[string]bool),
	}
}

// Open implements [engine.Engine].
func (c *Client) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	if err := c.travel(ctx); err != nil {
		return nil, err
	}
	if c.engine.happens(func(f Faults) float64 { return f.Fail }) {
		return nil, errTimeout
	}
	c.tasks.Go(c.deliver)
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.sink = sink
	c.engine.clients = append(c.engine.clients, c)
	c.connectLocked(true)
	return c, nil
}

// Cut disconnects the client. What is on its way is lost.
func (c *Client) Cut() { c.connect(false) }

// Restore connects the client again.
func (c *Client) Restore() { c.connect(true) }

func (c *Client) connect(up bool) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.sink != nil && c.down == up {
		c.connectLocked(up)
	}
}

func (c *Client) connectLocked(up bool) {
	c.down = !up
	c.number++
	c.queue = nil
	c.pushLocked(delivery{is: true, up: up})
}

// handLocked hands something over, if the client follows its chat.
func (c *Client) handLocked(d delivery) {
	f, random := c.engine.faults, c.engine.random
	if c.down || d.chat != "" && !c.follows[d.chat] || random.Float64() < f.Drop {
		return
	}
	c.pushLocked(d)
	if random.Float64() < f.Repeat {
		c.pushLocked(d)
	}
	if n := len(c.queue); n > 1 && random.Float64() < f.Reorder && !c.queue[n-2].is {
		a, b := &c.queue[n-2], &c.queue[n-1]
		*a, *b = *b, *a
		a.due, b.due = b.due, a.due
	}
}

// Send implements [engine.Session].
func (c *Client) Send(subject string, data []byte) error {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.down {
		return engine.ErrAway
	}
	for _, client := range c.engine.clients {
		client.handLocked(delivery{chat: subject, data: slices.Clone(data)})
	}
	return nil
}

func (c *Client) pushLocked(d delivery) {
	d.due = time.Now().Add(c.engine.upToLocked(c.engine.latency))
	if d.due.Before(c.last) {
		d.due = c.last
	}
	c.last = d.due
	c.queue = append(c.queue, d)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// deliver hands over what is due, until the client is closed.
func (c *Client) deliver() {
	for {
		d, ok := c.next()
		switch {
		case !ok:
			select {
			case <-c.wake:
			case <-c.closed:
				return
			}
		case d.is:
			c.sink.Up(d.up)
		case d.data != nil:
			c.sink.Sent(d.chat, d.data)
		default:
			c.sink.Stored(d.chat, d.record)
		}
	}
}

// next takes the next delivery when it is due. It returns false if there is none.
func (c *Client) next() (d delivery, ok bool) {
	e := c.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(c.queue) > 0 {
		d = c.queue[0]
		wait := time.Until(d.due)
		if wait <= 0 {
			c.queue = c.queue[1:]
			if !d.is && d.data == nil {
				e.calls.Stored++
			}
			return d, true
		}
		e.mu.Unlock()
		time.Sleep(wait)
		e.mu.Lock()
	}
	return d, false
}

// travel is the way of a request or an answer.
func (c *Client) travel(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-time.After(c.engine.upTo(c.engine.latency)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connection returns the number of the connection, and false if there is none.
func (c *Client) connection() (int, bool) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	return c.number, !c.down
}

// Append implements [engine.Session].
func (c *Client) Append(
	name string, after engine.Place, batch [][]byte, id string, done func(engine.Place, error),
) {
	batch = slices.Clone(batch)
	c.tasks.Go(func() {
		place, err := c.append(name, after, batch, id)
		if err != errTimeout || !c.engine.happens(func(f Faults) float64 { return f.Silence }) {
			done(place, err)
		}
	})
}

func (c *Client) append(
	name string, after engine.Place, batch [][]byte, id string,
) (engine.Place, error) {
	e := c.engine
	number, up := c.connection()
	e.mu.Lock()
	e.calls.Append++
	purges := e.chatLocked(name).purges
	e.mu.Unlock()
	store := func() (engine.Place, error) {
		return e.store(c, number, purges, name, after, batch, id)
	}
	switch {
	case !up || e.happens(func(f Faults) float64 { return f.Away }):
		return engine.Place{}, engine.ErrAway
	case len(batch) > 1 && e.happens(func(f Faults) float64 { return f.Refuse }):
		return engine.Place{}, engine.ErrRefused
	case e.happens(func(f Faults) float64 { return f.LostRequest }):
		return engine.Place{}, errTimeout
	case e.happens(func(f Faults) float64 { return f.Late }):
		e.late.Go(func() {
			time.Sleep(e.upTo(100 * e.latency))
			_, _ = store()
		})
		return engine.Place{}, errTimeout
	}
	time.Sleep(e.upTo(e.latency))
	place, err := store()
	time.Sleep(e.upTo(e.latency))
	now, _ := c.connection()
	if now != number || e.happens(func(f Faults) float64 { return f.LostAnswer }) {
		return engine.Place{}, errTimeout
	}
	return place, err
}

// ask does what all calls but Append have in common. count is what counts them.
func (c *Client) ask(ctx context.Context, count *int, answer func()) error {
	number, up := c.connection()
	c.engine.mu.Lock()
	*count++
	c.engine.mu.Unlock()
	if !up {
		return engine.ErrAway
	}
	if err := c.travel(ctx); err != nil {
		return err
	}
	answer()
	if err := c.travel(ctx); err != nil {
		return err
	}
	now, _ := c.connection()
	if now != number || c.engine.happens(func(f Faults) float64 { return f.Fail }) {
		return errTimeout
	}
	return nil
}

// Heads implements [engine.Session].
func (c *Client) Heads(ctx context.Context, names ...string) (heads []engine.Record, err error) {
	err = c.ask(ctx, &c.engine.calls.Heads, func() {
		for _, name := range names {
			var head engine.Record
			if records := c.engine.view(name); len(records) > 0 {
				newest := records[len(records)-1]
				head = engine.Record{Place: newest.Place, ID: newest.ID}
			}
			heads = append(heads, head)
		}
	})
	return heads, err
}

// Read implements [engine.Session].
func (c *Client) Read(
	ctx context.Context, name string, after engine.Place, most int,
) (records []engine.Record, err error) {
	err = c.ask(ctx, &c.engine.calls.Read, func() {
		for _, r := range c.engine.view(name) {
			if r.Mark > after.Mark && len(records) < most {
				records = append(records, r.Record)
			}
		}
	})
	return records, err
}

// Purge implements [engine.Session].
func (c *Client) Purge(ctx context.Context, name string, mark uint64) error {
	return c.ask(ctx, &c.engine.calls.Purge, func() { c.engine.purge(name, mark) })
}

// Follow implements [engine.Session].
func (c *Client) Follow(ctx context.Context, names ...string) error {
	return c.ask(ctx, &c.engine.calls.Follow, func() { c.setFollows(true, names) })
}

// Unfollow implements [engine.Session].
func (c *Client) Unfollow(names ...string) { c.setFollows(false, names) }

func (c *Client) setFollows(follows bool, names []string) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	for _, name := range names {
		if follows {
			c.follows[name] = true
		} else {
			delete(c.follows, name)
		}
	}
}

// Close implements [engine.Session].
func (c *Client) Close(context.Context) error {
	e := c.engine
	e.mu.Lock()
	c.down, c.queue = true, nil
	e.clients = slices.DeleteFunc(e.clients, func(other *Client) bool { return other == c })
	e.mu.Unlock()
	close(c.closed)
	c.tasks.Wait()
	return nil
}
