package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
)

// stream writes a subscription to an HTTP response, on the one goroutine of its handler.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sub     *broadcast.Subscriber[message]
	cfg     Config
	told    uint64 // of the messages missed, how many the client has been told of in advance
	out     []byte // what send writes next
}

func newStream(w http.ResponseWriter, sub *broadcast.Subscriber[message], told uint64, cfg Config) *stream {
	return &stream{w: w, control: http.NewResponseController(w), sub: sub, cfg: cfg, told: told}
}

// run serves the stream until it has ended, and returns why: the end of the subscription, of ctx, or an error of a write.
func (st *stream) run(ctx context.Context, beginning notice) error {
	if err := st.begin(beginning); err != nil {
		return err
	}
	err := st.deliver(ctx)
	st.end(err)
	return err
}

// begin answers the request and says where the stream begins. The id is sent even before there is any message: a client that is
// interrupted in a quiet chat resumes from there.
func (st *stream) begin(beginning notice) error {
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	h.Set("X-Content-Type-Options", "nosniff")

	event := eventReady
	if beginning.Reason != "" {
		event = eventReset
	}
	st.out = appendRetry(st.out, st.cfg.Retry+rand.N(st.cfg.Retry))
	st.out = beginning.appendTo(st.out, event, st.sub.Position().String())
	return st.send()
}

// deliver sends what comes, and a heartbeat when nothing does, until the subscription has ended and what it still had is sent.
func (st *stream) deliver(ctx context.Context) error {
	var batch [16]broadcast.Delivery[message]
	for {
		wait, cancel := context.WithTimeout(ctx, st.cfg.Heartbeat)
		n, err := st.sub.NextBatch(wait, batch[:])
		cancel()
		switch {
		case err == nil:
			st.add(batch[:n])
			clear(batch[:n]) // a quiet stream must not keep messages alive
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			st.out = append(st.out, heartbeat...)
		default:
			return err
		}
		if err := st.send(); err != nil {
			return err
		}
	}
}

// add adds messages to what is sent next, and tells before each how many are missing there. That event has no id: should the
// stream break off right there, the client asks for the missing messages too, and may get them.
func (st *stream) add(batch []broadcast.Delivery[message]) {
	for _, d := range batch {
		known := min(st.told, d.Missed)
		st.told -= known
		if missed := d.Missed - known; missed > 0 {
			st.out = notice{Missed: missed}.appendTo(st.out, eventMissed, "")
		}
		st.out = d.Message.appendTo(st.out, d.Position().String())
	}
}

// end tells the client why the stream ends, if it is still there.
func (st *stream) end(reason error) {
	switch {
	case errors.Is(reason, broadcast.ErrReplaced):
		st.out = notice{Reason: "the device has opened another stream"}.appendTo(st.out, eventReplaced, idReplaced)
	case errors.Is(reason, broadcast.ErrSlow), errors.Is(reason, broadcast.ErrStalled):
		st.out = notice{Reason: "too slow"}.appendTo(st.out, eventSlow, "")
	case errors.Is(reason, broadcast.ErrClosed):
		st.out = notice{Reason: "the server is shutting down"}.appendTo(st.out, eventShutdown, "")
	default:
		return
	}
	_ = st.send() // the client may as well have gone
}

// send writes what was added, within the WriteTimeout. The deadline of the server does not fit a response that does not end.
func (st *stream) send() error {
	if err := st.control.SetWriteDeadline(time.Now().Add(st.cfg.WriteTimeout)); err != nil {
		return err
	}
	_, err := st.w.Write(st.out)
	if cap(st.out) > 64<<10 {
		st.out = nil // after a burst of long messages
	}
	st.out = st.out[:0]
	if err != nil {
		return err
	}
	return st.control.Flush()
}
