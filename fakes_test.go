package broadcast_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
)

// Contexts and a logger, which are the code of users that the library calls.

// hooked is a context that calls a function when it is looked at. Its methods are the only code of
// the user that runs between the steps of a read: with it a test makes something happen in the one
// moment in which a wake-up could be lost.
type hooked struct {
	context.Context
	done, err func() // nil: nothing
}

func (h hooked) Done() <-chan struct{} { call(h.done); return h.Context.Done() }

func (h hooked) Err() error { call(h.err); return h.Context.Err() }

func call(f func()) {
	if f != nil {
		f()
	}
}

// foreign is a context of which the standard library knows nothing, so that it waits for it in a
// goroutine.
type foreign struct{ context.Context }

func (foreign) Value(any) any { return nil }

// counting is a context that counts who waits for its end.
type counting struct {
	context.Context
	asked, left atomic.Int32
}

func (c *counting) Value(any) any { return nil } // hides that a context of the standard library is inside

// AfterFunc is what context.AfterFunc calls.
func (c *counting) AfterFunc(f func()) func() bool {
	c.asked.Add(1)
	stop := context.AfterFunc(c.Context, f)
	return func() bool {
		c.left.Add(1)
		return stop()
	}
}

// meddler is a context whose methods do something first, as a foreign context may.
type meddler struct {
	context.Context
	meddle func()
}

func (m meddler) Done() <-chan struct{} { m.meddle(); return m.Context.Done() }

func (m meddler) Err() error { m.meddle(); return m.Context.Err() }

func (m meddler) Value(any) any { m.meddle(); return nil } // hides that a context of the standard library is inside

func (m meddler) Deadline() (time.Time, bool) { m.meddle(); return m.Context.Deadline() }

// AfterFunc is what context.AfterFunc calls, and its stop function is what ends with a
// subscription.
func (m meddler) AfterFunc(f func()) func() bool {
	m.meddle()
	stop := context.AfterFunc(m.Context, f)
	return func() bool { m.meddle(); return stop() }
}

// event is what a logger was told.
type event struct {
	level                 slog.Level
	message, chat, device string
	reason                any
}

// journal is a slog.Handler that keeps events, after it has called on with each.
type journal struct {
	level slog.Level
	on    func(message string)

	mu     sync.Mutex
	events []event
}

func (j *journal) Enabled(_ context.Context, level slog.Level) bool { return level >= j.level }

func (j *journal) WithAttrs([]slog.Attr) slog.Handler { return j }

func (j *journal) WithGroup(string) slog.Handler { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	if j.on != nil {
		j.on(r.Message)
	}
	e := event{level: r.Level, message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "chat":
			e.chat = a.Value.String()
		case "device":
			e.device = a.Value.String()
		case "reason":
			e.reason = a.Value.Any()
		}
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	return nil
}

// about returns the events whose message has a part.
func (j *journal) about(part string) []event {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []event
	for _, e := range j.events {
		if strings.Contains(e.message, part) {
			e.message = part
			found = append(found, e)
		}
	}
	return found
}

// newLogged returns a broker that logs to j.
func newLogged(t *testing.T, j *journal) *auditedBroker[int] {
	return newBroker[int](t, broadcast.WithLogger(slog.New(j)), broadcast.WithBuffer(2), broadcast.WithPatience(0),
		broadcast.WithPublishTimeout(time.Second), broadcast.WithCleanInterval(time.Second), broadcast.WithChatIdle(time.Hour))
}
