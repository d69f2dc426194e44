// Package stream is shared by the packages that deliver subscriptions over sockets. It admits
// requests, encodes each message once for all sockets of a chat, and runs the loop that takes
// messages in batches and writes each batch from one buffer.
//
// It does not know the format of a frame, nor how to write one: a [Framer] and a [Sink] do.
package stream

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
)

// A Config holds the options of a [Core]. New checks them. Admit, Ping, WriteTimeout, BatchBytes
// and Framer must be set.
type Config[T any] struct {
	Admit  func(*http.Request) (Ticket, error)
	Encode func(dst []byte, d broadcast.Delivery[T]) ([]byte, error)
	Event  func(dst []byte, e Event) []byte
	Replay int

	Ping         time.Duration // between two heartbeats
	WriteTimeout time.Duration // for one write
	Pace         time.Duration // between two writes
	BatchBytes   int           // a batch that is as long gets no further frame

	Origins   []string
	Hosts     []string
	CloseCode func(reason error) (code int, text string)
	Observe   Observer
	Logger    *slog.Logger

	Transport string // the name of the protocol in Stats

	Framer Framer
	Text   bool // what Encode and Event append must be UTF-8

	// Answer answers a refused request itself, or returns false. nil: every refusal is answered in the
	// usual way.
	Answer func(http.ResponseWriter, *http.Request, *Refusal) bool
}

// A Framer formats frames. Its methods may be called concurrently.
type Framer interface {
	// AppendMessage appends the frame of a message. at is the position of its delivery.
	AppendMessage(dst, payload []byte, at broadcast.Position) []byte

	// AppendEvent appends an event.
	AppendEvent(dst, payload []byte, e Event) []byte

	// AppendPing appends a ping, which a live client answers, if the protocol has one.
	AppendPing(dst []byte) []byte

	// AppendPacked appends a frame of AppendMessage in the compressed form that some clients ask
	// for.
	AppendPacked(dst, frame []byte) []byte
}

// A Sink writes to one client.
type Sink interface {
	// Send writes a batch and owns it. It calls Release when it no longer needs the buffer, if
	// possible before it waits for the client.
	Send(*Batch) error

	Cutter
}

// A Core is the common part of all servers. Its methods are safe for concurrent use.
type Core[T any] struct {
	Config[T]
	Doors

	broker   *broadcast.Broker[T]
	guard    *guard
	cache    cache
	taken    sync.Pool // of *taken[T], so that a quiet connection has none
	counters counters

	countShort func(bytes int) // a value, so that a connection does not allocate it

	// draining ends when Drain is called: from then on each connection delivers what was accepted
	// before, and ends.
	draining context.Context
	drain    context.CancelFunc
}

// maxReplay is the longest history, and so the longest [broadcast.Replay].
const maxReplay = 1 << 20

// New returns a Core. The error lists every bad option.
func New[T any](b *broadcast.Broker[T], c Config[T], problems *Problems) (*Core[T], error) {
	if b == nil {
		problems.Add("the broker is nil")
	}
	if c.Admit == nil {
		problems.Add("Admit is nil")
	}
	problems.positive("Ping", int64(c.Ping))
	problems.positive("WriteTimeout", int64(c.WriteTimeout))
	problems.positive("BatchBytes", int64(c.BatchBytes))
	problems.notNegative("Pace", int64(c.Pace))
	problems.notNegative("Replay", int64(c.Replay))
	if c.Replay > maxReplay {
		problems.Add("Replay is above %d", maxReplay)
	}
	core := &Core[T]{Config: c, broker: b, guard: newGuard(c.Origins, c.Hosts, problems)}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	if core.Encode == nil {
		core.Encode = AppendMessage[T]
	}
	if core.Event == nil {
		core.Event = AppendEvent
	}
	if core.Logger == nil {
		core.Logger = slog.Default()
	}
	core.countShort = core.counters.addShort
	core.draining, core.drain = context.WithCancel(context.Background())
	return core, nil
}

// Drain refuses further requests, lets each connection deliver what its chat has accepted, and
// waits for their ends. If ctx ends first, it cuts those that are left, waits for them, and returns
// ctx.Err().
func (c *Core[T]) Drain(ctx context.Context) error {
	empty := c.shut()
	c.drain()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	c.cut()
	<-empty
	return ctx.Err()
}
