package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// Why a client could not do what it was asked to, or lost its connection. Compare with errors.Is.
var (
	ErrClosed   = errors.New("the client is closed")
	ErrOffline  = errors.New("not connected; the message was not sent")
	ErrUnsure   = errors.New("the connection was lost; the message may have arrived or not")
	ErrReplaced = errors.New("replaced: the name has come into the room from elsewhere")
	ErrSlow     = errors.New("too slow")
	ErrStopping = errors.New("the server is stopping")
)

// A Client is a person's presence in a room. It reconnects by itself when the connection is lost,
// and resumes where it was. All methods are safe for concurrent use. The caller must read Events: a
// client whose events are not read stops reading from the server, which then cuts it off.
type Client struct {
	options Options
	events  chan Event
	ctx     context.Context // ends with Close
	close   context.CancelFunc
	done    chan struct{} // closed when run has returned

	mu      sync.Mutex
	room    string
	changed chan struct{}      // closed and made anew whenever one of these changes
	leave   context.CancelFunc // ends the present stay in a room; set by run
	session *session           // while online
	state   State
	failure error // why the state is Offline or Closed
}

// New returns a client that is joining its room. It returns an error if the options are invalid.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		options: o,
		events:  make(chan Event, 64),
		ctx:     ctx,
		close:   cancel,
		done:    make(chan struct{}),
		room:    o.Room,
		changed: make(chan struct{}),
	}
	go c.run()
	return c, nil
}

// Events returns a channel of what happens, in order. It is closed after the event that says
// Closed.
func (c *Client) Events() <-chan Event { return c.events }

// Room returns the room that the client is in, or is joining.
func (c *Client) Room() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room
}

// Send writes text to the current room. It waits for the server's answer, and while the client is
// connecting: nil means that the message is in the room's log. ErrOffline and a refusal mean that
// it is not and never will be; ErrUnsure and the error of ctx mean that this is unknown. The answer
// comes on the way of the events, so somebody must be reading those.
func (c *Client) Send(ctx context.Context, text string) error {
	if err := wire.CheckText(text); err != nil {
		return err
	}
	s, err := c.online(ctx)
	if err != nil {
		return err
	}
	return s.post(ctx, text)
}

// online returns the connection. It waits while the client is connecting.
func (c *Client) online(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, state, failure, changed := c.session, c.state, c.failure, c.changed
		c.mu.Unlock()
		switch state {
		case Online:
			return s, nil
		case Offline:
			return nil, ErrOffline
		case Closed:
			return nil, failure
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Join moves the client to another room, or joins the same one again. It returns when the client is
// in the room. After an error that is not about the name, the client keeps trying, unless it is
// closed.
func (c *Client) Join(ctx context.Context, room string) error {
	room, err := wire.Name("room", room)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.state == Closed {
		defer c.mu.Unlock()
		return c.failure
	}
	c.room = room
	c.setLocked(Connecting, nil, nil)
	if c.leave != nil {
		c.leave()
	}
	c.mu.Unlock()
	if _, err = c.online(ctx); errors.Is(err, ErrOffline) {
		return fmt.Errorf("not in %s yet: %w", room, c.lastFailure())
	}
	return err
}

func (c *Client) lastFailure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		return ErrOffline
	}
	return c.failure
}

// Close leaves the room, and returns when no goroutine of the client is left. It returns nil and
// may be called any number of times.
func (c *Client) Close() error {
	c.close()
	<-c.done
	return nil
}

// setLocked changes the state. All changes go through it.
func (c *Client) setLocked(state State, s *session, failure error) {
	c.state, c.session, c.failure = state, s, failure
	close(c.changed)
	c.changed = make(chan struct{})
}

// emit sends an event. It gives up when ctx ends.
func (c *Client) emit(ctx context.Context, e Event) {
	select {
	case c.events <- e:
	case <-ctx.Done():
	}
}
