package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/fbd86cad/broadcast"
)

// An Outlet delivers one subscription to one client.
type Outlet[T any] struct {
	core   *Core[T]
	sub    *broadcast.Subscriber[T]
	frames *frames
	sink   Sink
	packed bool // the client gets packed frames
	about  About
	wish   Wish

	// cause is stored once: by whoever ends the outlet for a reason of the connection, before it
	// closes the subscription or loads wake, or at the end of Run. Run reads it after each store of
	// wake, and so does Reason after the end of Run.
	cause atomic.Pointer[error]

	// wake ends the wait of Run. Run stores it for each wait, and Finish loads it. Either Run sees
	// the cause that Finish has stored, or Finish sees the wake of the wait.
	wake atomic.Pointer[context.CancelFunc]

	lastWrite time.Time   // with Pace
	pause     *time.Timer // with Pace; nil until it is needed
}

// Why a connection ends, besides the ends of a subscription.
var (
	// ErrLeft means that the client has closed the connection, or that the connection broke.
	ErrLeft = errors.New("the client has left")

	// ErrDrained means that the server is draining, and the client has got everything.
	ErrDrained = errors.New("the server is shutting down")

	// ErrTimeout means that the client did not read in time.
	ErrTimeout = errors.New("too slow: the client did not read in time")

	// ErrSilent means that the client did not answer pings.
	ErrSilent = errors.New("the client did not answer")
)

// ErrNotText means that bytes are not UTF-8, which a client would treat as a protocol error.
var ErrNotText = fmt.Errorf("%w: text that is not UTF-8", broadcast.ErrInvalid)

// NewOutlet returns the outlet of a subscription. The caller must call Close.
func (c *Core[T]) NewOutlet(
	r *http.Request, sub *broadcast.Subscriber[T], w Wish, sink Sink, packed bool,
) *Outlet[T] {
	return &Outlet[T]{
		core: c, sub: sub, frames: c.cache.join(sub.Chat()), sink: sink, packed: packed,
		about: AboutOf(r), wish: w,
	}
}

// Close releases what the outlet holds, and closes the subscription.
func (o *Outlet[T]) Close() {
	_ = o.sub.Close() // never fails
	o.core.cache.leave(o.sub.Chat(), o.frames)
	if o.pause != nil {
		o.pause.Stop()
	}
}

// About identifies the request of the connection, for the log.
func (o *Outlet[T]) About() About { return o.about }

// End ends the outlet: Run returns soon, if it is not waiting for the sink. Only the first call
// has an effect.
func (o *Outlet[T]) End(cause error) {
	o.cause.CompareAndSwap(nil, &cause)
	_ = o.sub.Close() // never fails
}

// Finish lets Run end as if the server drained: with what the chat has accepted so far. Its cause
// is that of End.
func (o *Outlet[T]) Finish(cause error) {
	o.cause.CompareAndSwap(nil, &cause)
	if wake := o.wake.Load(); wake != nil {
		(*wake)()
	}
}

// Cut implements [Cutter] for Drain.
func (o *Outlet[T]) Cut() {
	o.End(ErrDrained)
	o.sink.Cut()
}

// Run sends Ready or Reset, and then what the subscription delivers. It returns the reason of the
// end: the cause given to End or Finish, the end of the subscription, ErrDrained, or the error of a write.
// What the subscription left readable at its end was sent.
func (o *Outlet[T]) Run() error {
	err := o.run()
	if !errors.Is(err, ErrLeft) { // of which the reader knows more
		o.cause.CompareAndSwap(nil, &err)
	}
	return o.Reason(err)
}

// Reason returns why the outlet has ended, after Run has returned err.
func (o *Outlet[T]) Reason(err error) error {
	cause := o.cause.Load()
	if cause == nil || errors.Is(err, ErrTimeout) { // after which net/http says that the client left
		return err
	}
	return *cause
}

// run is where a quiet connection waits. What it does before and after a wait is in functions of
// its own: the stack of a waiting goroutine stays at 4 KB only if its frames take less than 1 250
// bytes.
func (o *Outlet[T]) run() error {
	if err := o.begin(); err != nil {
		return err
	}
	for {
		ctx, cancel := context.WithTimeout(o.core.draining, o.core.Ping)
		o.wake.Store(&cancel)
		if o.cause.Load() != nil {
			cancel()
		}
		err := o.follow(ctx)
		over := ctx.Err() == nil // then the subscription has ended
		cancel()
		switch {
		case err != nil:
			return err
		case over:
			return o.sub.Err()
		case o.core.draining.Err() != nil, o.cause.Load() != nil:
			return o.finish()
		}
		if err := o.beat(); err != nil {
			return err
		}
	}
}

// begin sends the first event.
func (o *Outlet[T]) begin() error { return o.sendEvents(o.beginning()) }

// beginning is the first event.
func (o *Outlet[T]) beginning() Event {
	e := o.event(Ready)
	e.Position, e.Heartbeat = o.sub.Position(), o.core.Ping
	switch {
	case !o.wish.Given:
	case o.sub.Recovered() && o.resumed():
		e.Recovered = true
	default:
		e.Kind, e.Missed = Reset, o.sub.Stats().Missed
	}
	return e
}

// resumed reports whether the subscription began at the position that was asked for, and not with a
// replay.
func (o *Outlet[T]) resumed() bool {
	return o.wish.After != broadcast.Position{} && o.sub.Position() == o.wish.After
}

// follow sends what is delivered until the subscription or ctx has ended.
func (o *Outlet[T]) follow(ctx context.Context) error {
	for d := range o.sub.All(ctx) {
		if err := o.sendFrom(d); err != nil {
			return err
		}
	}
	return nil
}

// finish sends as many messages as wait now, and at most a batch more.
func (o *Outlet[T]) finish() error {
	stats := o.sub.Stats()
	for goal := stats.Delivered + stats.Pending; ; {
		d, ok := o.sub.TryNext()
		if !ok || d.Kind == broadcast.Published && o.sub.Stats().Delivered > goal {
			return cmp.Or(o.sub.Err(), ErrDrained)
		}
		if err := o.sendFrom(d); err != nil {
			return err
		}
	}
}

// maxBatch is the number of deliveries that are written together, unless connections are paced.
// With 16 a burst takes twice as long; with more than 64 nothing changes.
const maxBatch = 64

// A taken holds deliveries that are taken in one step, which costs half as much as taking them one
// by one. It is short, because deliveries that do not fit into the batch wait for the client and no
// longer count as pending.
type taken[T any] [16]broadcast.Delivery[T]

// sendFrom sends a delivery and what follows it, in one write if that fits into a batch.
func (o *Outlet[T]) sendFrom(d broadcast.Delivery[T]) error {
	paced, most := o.core.Pace > 0, maxBatch
	if paced {
		o.awaitPace()
		most = math.MaxInt
	}
	b := newBatch()
	o.add(b, &d)
	b, err := o.gather(b, most)
	if err != nil {
		return err
	}
	if paced && !o.full(b) { // a full batch is followed at once
		o.lastWrite = time.Now()
	}
	return o.send(b)
}

// gather adds what follows to a batch of one delivery, most deliveries in all. It sends what does
// not fit, and returns the last batch, which waits for the client without the deliveries.
func (o *Outlet[T]) gather(b *Batch, most int) (*Batch, error) {
	next := o.core.newTaken()
	defer o.core.release(next)
	for n := 1; n < most && !o.full(b); {
		k := o.sub.TryNextBatch(next[:min(len(next), most-n)])
		if k == 0 {
			break
		}
		n += k
		for i := range next[:k] {
			if o.full(b) {
				if err := o.send(b); err != nil {
					return nil, err
				}
				b = newBatch()
			}
			o.add(b, &next[i])
		}
	}
	return b, nil
}

// full reports whether a batch gets no further frame.
func (o *Outlet[T]) full(b *Batch) bool { return len(b.Buf) >= o.core.BatchBytes }

func (c *Core[T]) newTaken() *taken[T] {
	if next, ok := c.taken.Get().(*taken[T]); ok {
		return next
	}
	return new(taken[T])
}

func (c *Core[T]) release(next *taken[T]) {
	clear(next[:])
	c.taken.Put(next)
}

// awaitPace waits until the pace allows a write, the subscription has ended, or the server drains.
func (o *Outlet[T]) awaitPace() {
	wait := time.Until(o.lastWrite.Add(o.core.Pace))
	if wait <= 0 {
		return
	}
	if o.pause == nil {
		o.pause = time.NewTimer(wait)
	} else {
		o.pause.Reset(wait)
	}
	select {
	case <-o.pause.C:
	case <-o.sub.Done():
	case <-o.core.draining.Done():
	}
}

// add adds a delivery to a batch.
func (o *Outlet[T]) add(b *Batch, d *broadcast.Delivery[T]) {
	if d.Kind != broadcast.Published {
		o.addEvent(b, o.presenceEvent(d))
		return
	}
	if d.Reset {
		o.addEvent(b, o.event(Renumbered))
	}
	at, missed := d.Position(), d.Missed // before the store: a copy just after it takes 10 ns
	ring := o.frames.ring.Load()
	if ring == nil {
		o.addAlone(b, d, missed)
		return
	}
	f := ring.load(at, d.Seq)
	if f == nil {
		f = o.encodeFrame(b, d)
		ring.store(f)
	}
	if f.bytes == nil {
		missed++
	}
	o.addMissed(b, missed)
	if f.bytes != nil {
		b.share(o.bytesOf(f))
	}
}

// addAlone adds a message of a chat that no other connection watches.
func (o *Outlet[T]) addAlone(b *Batch, d *broadcast.Delivery[T], missed uint64) {
	b.scratch = b.scratch[:0]
	payload, err := o.encode(b.room(), d)
	if err != nil {
		o.addMissed(b, missed+1)
		return
	}
	b.keep(payload)
	o.addMissed(b, missed)
	begin := len(b.Buf)
	b.Buf = o.core.Framer.AppendMessage(b.Buf, payload, d.Position())
	if o.packed {
		b.scratch = append(b.scratch[:0], b.Buf[begin:]...)
		b.Buf = o.core.Framer.AppendPacked(b.Buf[:begin], b.scratch)
	}
	b.end()
}

// encodeFrame encodes a message for all connections.
func (o *Outlet[T]) encodeFrame(b *Batch, d *broadcast.Delivery[T]) *frame {
	f := &frame{at: d.Position(), seq: d.Seq}
	b.scratch = b.scratch[:0]
	payload, err := o.encode(b.room(), d)
	if err != nil {
		return f
	}
	b.keep(payload)
	f.bytes = o.core.Framer.AppendMessage(make([]byte, 0, len(payload)+16), payload, f.at)
	return f
}

// bytesOf returns a frame in the form for this connection.
func (o *Outlet[T]) bytesOf(f *frame) []byte {
	if !o.packed {
		return f.bytes
	}
	packed := f.packed.Load()
	if packed == nil {
		text := o.core.Framer.AppendPacked(nil, f.bytes)
		packed = &text
		f.packed.Store(packed)
	}
	return *packed
}

// encode calls Encode, and logs its error or panic.
func (o *Outlet[T]) encode(dst []byte, d *broadcast.Delivery[T]) (payload []byte, err error) {
	payload, err = o.core.tryEncode(dst, d)
	if err != nil {
		o.core.Fail("Encode failed", o.about, err, "chat", d.Chat, "seq", d.Seq)
	}
	return payload, err
}

func (c *Core[T]) tryEncode(dst []byte, d *broadcast.Delivery[T]) (payload []byte, err error) {
	defer RecoverAs(&err)
	d.Missed, d.Reset = 0, false // the clients share the frame
	payload, err = c.Encode(dst, *d)
	return payload, cmp.Or(err, c.checkText(payload))
}

// checkText returns an error for text that no client would accept.
func (c *Core[T]) checkText(payload []byte) error {
	if c.Text && !utf8.Valid(payload) {
		return ErrNotText
	}
	return nil
}

// addMissed adds a Missed event, if messages are missing.
func (o *Outlet[T]) addMissed(b *Batch, missed uint64) {
	if missed > 0 {
		e := o.event(Missed)
		e.Missed = missed
		o.addEvent(b, e)
	}
}

// addEvent adds an event to a batch.
func (o *Outlet[T]) addEvent(b *Batch, e Event) {
	payload, err := o.core.tryEvent(b.room(), e)
	if err != nil {
		o.core.Fail("Event failed", o.about, err, "chat", e.Chat, "kind", e.Kind)
		payload = AppendEvent(b.room(), e)
	}
	b.keep(payload)
	b.Buf = o.core.Framer.AppendEvent(b.Buf, payload, e)
	b.end()
}

func (c *Core[T]) tryEvent(dst []byte, e Event) (payload []byte, err error) {
	defer RecoverAs(&err)
	payload = c.Event(dst, e)
	return payload, c.checkText(payload)
}

// event returns an event of a kind.
func (o *Outlet[T]) event(kind Kind) Event {
	chat := o.sub.Chat()
	broker := o.core.broker
	return Event{Kind: kind, Chat: chat, Present: func() []string { return broker.Devices(chat) }}
}

// presenceEvent is the event that a delivery tells of.
func (o *Outlet[T]) presenceEvent(d *broadcast.Delivery[T]) Event {
	kind := Resync
	switch d.Kind {
	case broadcast.Joined:
		kind = Joined
	case broadcast.Left:
		kind = Left
	}
	e := o.event(kind)
	e.Device, e.Seq = d.Device, d.Seq
	return e
}

// sendEvents sends events.
func (o *Outlet[T]) sendEvents(events ...Event) error {
	b := newBatch()
	for _, e := range events {
		o.addEvent(b, e)
	}
	return o.send(b)
}

// beat sends a heartbeat and a ping.
func (o *Outlet[T]) beat() error {
	b := newBatch()
	b.Buf = o.core.Framer.AppendPing(b.Buf) // goes with the event
	o.addEvent(b, o.event(Heartbeat))
	return o.send(b)
}

// SendEnded sends the last event.
func (o *Outlet[T]) SendEnded(code int, text string, reason error) error {
	e := o.event(Ended)
	e.Code, e.Reason, e.Err = code, text, reason
	return o.sendEvents(e)
}

// send writes a batch.
func (o *Outlet[T]) send(b *Batch) error {
	frames, size := b.Frames(), len(b.Buf)
	switch err := o.sink.Send(b); {
	case errors.Is(err, ErrTimeout):
		return ErrTimeout
	case err != nil:
		return fmt.Errorf("%w: %w", ErrLeft, err)
	}
	o.core.tellBatch(o.about, frames, size)
	return nil
}
