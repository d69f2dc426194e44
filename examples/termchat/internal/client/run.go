package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// run stays in one room after another until the client is closed or must not reconnect.
func (c *Client) run() {
	defer close(c.done)
	defer close(c.events)
	err := error(nil)
	for err == nil {
		err = c.stay()
	}
	c.mu.Lock()
	c.setLocked(Closed, nil, err)
	room := c.room
	c.mu.Unlock()
	if errors.Is(err, ErrClosed) {
		err = nil // as it was asked to
	}
	closed := Event{Kind: StateChanged, Room: room, State: Closed, Err: err}
	select {
	case c.events <- closed: // also after Close, if there is a place or a reader
	default:
		c.emit(c.ctx, closed)
	}
	c.close() // frees the context
}

// stay stays in one room, however often the connection is lost, until Join or Close ends that. It
// returns nil if Join did.
func (c *Client) stay() error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.mu.Lock()
	c.leave = cancel
	v := &visit{client: c, ctx: ctx, room: c.room}
	c.setLocked(Connecting, nil, nil)
	c.mu.Unlock()
	for failures := 0; ; failures++ {
		v.state(Connecting, nil, nil, 0)
		greeted, err := v.connect()
		switch {
		case c.ctx.Err() != nil:
			return ErrClosed
		case ctx.Err() != nil:
			return nil
		}
		if final, ok := errors.AsType[*finalError](err); ok {
			return final.error
		}
		if greeted {
			failures = 0
		}
		wait := backoff(c.options.MinBackoff, c.options.MaxBackoff, failures)
		v.state(Offline, nil, err, wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// backoff returns how long to wait after the given number of failures in a row. The average doubles
// with each, and the waits are random, so that the clients of a restarted server do not reconnect
// all at once.
func backoff(least, most time.Duration, failures int) time.Duration {
	mean := most
	if failures < 30 && least<<failures < most {
		mean = least << failures
	}
	return mean/2 + rand.N(mean)
}

// finalError is the reason not to reconnect.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }
