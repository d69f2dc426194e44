package broadcastws

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// Options are the settings of a [Server]. Only Admit is required.
//
// The functions may be called concurrently. A panic or an unexpected error is logged at Error with
// the method, path and remote address of the request.
type Options[T any] struct {
	// Admit decides what a request may watch, or refuses it; authenticate the client here. A
	// [*Refusal] sets the answer. Errors of package broadcast are answered as [RefusalOf] says, and
	// any other error with 500. A ticket with a bad name, which may come from the client, is answered
	// with 400; one with a bad option, with 500. Everything that does not depend on the ticket is
	// checked before Admit is called. Drain does not wait for Admit.
	Admit func(*http.Request) (Ticket, error)

	// Encode appends a message as clients get it. It is called once for each message, however many
	// sockets watch the chat, and sometimes again, such as for a client that lags far behind. The
	// delivery has no Missed, Reset and Device. If Encode fails, the sockets get a [Missed] event in place
	// of the message. Unless Binary is set, a result that is not UTF-8 counts as a failure. nil: JSON
	// of the chat, the message, its Seq and its Position.
	Encode func(dst []byte, d broadcast.Delivery[T]) ([]byte, error)

	// Event appends an event as clients get it. If it panics, or its result is not UTF-8 and Binary is
	// not set, the default is used instead. nil: JSON, as in the package documentation.
	Event func(dst []byte, e Event) []byte

	// Receive is called with each message that a client sends, one call at a time for each socket.
	// It may keep the bytes. The context ends with the socket; Receive must then return. A
	// [*Refusal] closes the socket with 1008 and its text, any other error as the table of close
	// codes says. An ErrClosed or ErrEnded of package broadcast does so when the client has got
	// what its chat has accepted. nil: a client that sends anything is closed with 1008.
	Receive func(ctx context.Context, c *Conn, message []byte) error

	// Replay is the number of recent messages with which a socket begins, unless it resumes.
	Replay int

	// Binary makes the frames binary. Otherwise they are text.
	Binary bool

	// Subprotocols are the subprotocols that the server speaks, in order of preference. The first
	// one that the client offers too is used.
	Subprotocols []string

	// Ping is the interval of heartbeats and of pings. A client that answers neither of two pings
	// is considered gone. 0: 25 s, because many proxies close connections that are idle for a
	// minute.
	Ping time.Duration

	// WriteTimeout is how long a client may take to read one batch. 0: 10 s.
	WriteTimeout time.Duration

	// CloseTimeout is how long a client may take to answer a close frame, at most 5 s. 0: 1 s.
	CloseTimeout time.Duration

	// Pace is the shortest time between two writes to a socket, unless a batch is full. Writing one
	// message costs as much as writing thirty. With 200 messages a second, a pace of 20 ms halves
	// the CPU time and delays each message by 10 ms on average. 0: none.
	Pace time.Duration

	// MaxFrame is the longest message that a client may send, in bytes. 0: 4 KiB.
	MaxFrame int

	// BatchBytes is the size in bytes at which a batch gets no further frame. 0: 32 KiB.
	BatchBytes int

	// SendBuffer is how many bytes the kernel may hold for a client that reads slowly; the library
	// counts these as delivered. 0: 64 KiB.
	SendBuffer int

	// Compression compresses messages for clients that ask for it, once for each message. It is
	// rarely worth it: 150 bytes of JSON take several microseconds and shrink by a quarter.
	Compression bool

	// Origins are the origins of other sites whose pages may connect, such as
	// "https://example.com". nil: none.
	Origins []string

	// Hosts are the host names of the server, with or without a port; a request with another Host
	// is answered with 421. This protects a server on a local address from pages that point their
	// own host name at that address. nil: any name.
	Hosts []string

	// CloseCode returns the close code and its text, of which at most 123 bytes are sent, for the
	// reason of an end. nil: those of [CloseCode].
	CloseCode func(reason error) (code int, text string)

	// Observe is notified of what happens.
	Observe Observer

	// Logger logs unexpected errors. nil: [slog.Default].
	Logger *slog.Logger
}

// What the options are if they are not set.
const (
	defaultPing         = 25 * time.Second
	defaultWriteTimeout = 10 * time.Second
	defaultCloseTimeout = time.Second
	defaultMaxFrame     = 4 << 10
	defaultBatchBytes   = 32 << 10
	defaultSendBuffer   = 64 << 10
)

// maxCloseTimeout is how long the WebSocket library waits for the answer to a close frame.
const maxCloseTimeout = 5 * time.Second

// withDefaults returns the options with those set that were not, and what is wrong with them.
func (o Options[T]) withDefaults() (Options[T], *stream.Problems) {
	o.Ping = stream.Or(o.Ping, defaultPing)
	o.WriteTimeout = stream.Or(o.WriteTimeout, defaultWriteTimeout)
	o.CloseTimeout = stream.Or(o.CloseTimeout, defaultCloseTimeout)
	o.MaxFrame = stream.Or(o.MaxFrame, defaultMaxFrame)
	o.BatchBytes = stream.Or(o.BatchBytes, defaultBatchBytes)
	o.SendBuffer = stream.Or(o.SendBuffer, defaultSendBuffer)
	var problems stream.Problems
	if o.CloseTimeout < 0 || o.CloseTimeout > maxCloseTimeout {
		problems.Add("CloseTimeout is not between 0 and %v", maxCloseTimeout)
	}
	if o.MaxFrame < 0 {
		problems.Add("MaxFrame is negative")
	}
	if o.SendBuffer < 0 {
		problems.Add("SendBuffer is negative")
	}
	return o, &problems
}

// config returns the options that do not concern WebSockets.
func (o *Options[T]) config() stream.Config[T] {
	return stream.Config[T]{
		Admit: o.Admit, Encode: o.Encode, Event: o.Event, Replay: o.Replay,
		Ping: o.Ping, WriteTimeout: o.WriteTimeout, Pace: o.Pace, BatchBytes: o.BatchBytes,
		Origins: o.Origins, Hosts: o.Hosts, CloseCode: o.CloseCode, Observe: o.Observe,
		Logger: o.Logger, Transport: "websocket", Framer: framer{dataOpcode(o.Binary)},
		Text: !o.Binary,
	}
}
