package broadcastsse

import (
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
	//
	// An EventSource gives up after a status other than 200. So if the refusal has a RetryAfter, as
	// the 503s above do, an EventSource gets a stream that ends at once and tells it to reconnect
	// after that time.
	Admit func(*http.Request) (Ticket, error)

	// Encode appends a message as clients get it. It is called once for each message, however many
	// streams watch the chat, and sometimes again, such as for a client that lags far behind. The
	// delivery has no Missed, Reset and Device. If Encode fails, or its result is not UTF-8, the streams
	// get a [Missed] event in place of the message. nil: JSON of the chat, the message, its Seq and
	// its Position.
	Encode func(dst []byte, d broadcast.Delivery[T]) ([]byte, error)

	// Event appends the data of an event. If it panics, or its result is not UTF-8, the default is
	// used instead. nil: JSON.
	Event func(dst []byte, e Event) []byte

	// Replay is the number of recent messages with which a stream begins, unless it resumes.
	Replay int

	// Retry is how long a client is asked to wait before it reconnects, plus a random time of up to
	// as long again, so that clients do not all return at once. 0: 1 s.
	Retry time.Duration

	// Ping is the interval of heartbeats. 0: 25 s, because many proxies close connections that are
	// idle for a minute.
	Ping time.Duration

	// WriteTimeout is how long a client may take to read one batch. 0: 10 s.
	WriteTimeout time.Duration

	// Pace is the shortest time between two writes to a stream, unless a batch is full. Writing one
	// message costs as much as writing thirty. With 200 messages a second, a pace of 20 ms halves
	// the CPU time and delays each message by 10 ms on average. 0: none.
	Pace time.Duration

	// BatchBytes is the size in bytes at which a batch gets no further event. 0: 32 KiB.
	BatchBytes int

	// Hijack takes HTTP/1.1 connections over from net/http, so that a client that stops reading
	// costs less memory. Such streams bypass middleware that wraps the response body, and
	// http.Server.Shutdown does not know of them.
	Hijack bool

	// SendBuffer is how many bytes the kernel may hold for a client that reads slowly; the library
	// counts these as delivered. It applies only with Hijack; without it, see docs/sockets.md. 0:
	// 64 KiB.
	SendBuffer int

	// Origins are the origins of other sites whose pages may connect, such as
	// "https://example.com". nil: none.
	Origins []string

	// Hosts are the host names of the server, with or without a port; a request with another Host
	// is answered with 421. This protects a server on a local address from pages that point their
	// own host name at that address. nil: any name.
	Hosts []string

	// CloseCode returns the code and the text of the last event for the reason of an end. nil:
	// those of [CloseCode].
	CloseCode func(reason error) (code int, text string)

	// Observe is notified of what happens.
	Observe Observer

	// Logger logs unexpected errors. nil: [slog.Default].
	Logger *slog.Logger
}

// What the options are if they are not set.
const (
	defaultRetry        = time.Second
	defaultPing         = 25 * time.Second
	defaultWriteTimeout = 10 * time.Second
	defaultBatchBytes   = 32 << 10
	defaultSendBuffer   = 64 << 10
)

// withDefaults returns the options with those set that were not, and what is wrong with them.
func (o Options[T]) withDefaults() (Options[T], *stream.Problems) {
	o.Retry = stream.Or(o.Retry, defaultRetry)
	o.Ping = stream.Or(o.Ping, defaultPing)
	o.WriteTimeout = stream.Or(o.WriteTimeout, defaultWriteTimeout)
	o.BatchBytes = stream.Or(o.BatchBytes, defaultBatchBytes)
	o.SendBuffer = stream.Or(o.SendBuffer, defaultSendBuffer)
	var problems stream.Problems
	if o.Retry < time.Millisecond {
		problems.Add("Retry is below a millisecond")
	}
	if o.SendBuffer < 0 {
		problems.Add("SendBuffer is negative")
	}
	return o, &problems
}

// config returns the options that do not concern event streams.
func (o *Options[T]) config() stream.Config[T] {
	return stream.Config[T]{
		Admit: o.Admit, Encode: o.Encode, Event: o.Event, Replay: o.Replay,
		Ping: o.Ping, WriteTimeout: o.WriteTimeout, Pace: o.Pace, BatchBytes: o.BatchBytes,
		Origins: o.Origins, Hosts: o.Hosts, CloseCode: o.CloseCode, Observe: o.Observe,
		Logger: o.Logger, Transport: "sse", Framer: framer{o.Retry}, Text: true,
	}
}
