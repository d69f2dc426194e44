package broadcastws

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast/internal/stream"
)

// These types are also those of package broadcastsse, so that one function may serve both.

// A Ticket says what a request may watch:
//
//	Chat string
//	    the name of the chat
//	Device string
//	    the name of the client in the chat. A newer connection of a device takes over from the
//	    older one, so begin it with the user's name from the login, and append an ID of the tab if
//	    a user may open several. Empty makes the client anonymous
//	Subscribe []broadcast.SubscribeOption
//	    options of the subscription; they win over those of the server
//	Value any
//	    any value of yours, which Receive gets from Conn.Ticket
//	Ended func()
//	    called once when the connection has ended, or could not begin; may be nil
type Ticket = stream.Ticket

// A Refusal is an error that says how to answer a request, or with which text to close a socket:
//
//	Status int                the HTTP status, from 400 to 599
//	Text string               the text for people; if empty, that of Status
//	RetryAfter time.Duration  how long the client should wait; 0 if unknown
type Refusal = stream.Refusal

// RefusalOf returns how to answer a request that failed with err, such as a POST whose handler
// calls Publish:
//
//	400  ErrInvalid, with the text of the error
//	410  ErrEnded
//	503  ErrLimit, ErrOverloaded, ErrClosed, ErrAway, and the end of a context: the message was not
//	     accepted, and the client may post it again after Retry-After
//	504  ErrUncertain: the message may have been accepted
//	500  any other error, of which the client learns nothing: log it
//
// If err wraps a [*Refusal], it is that one; if err is nil, it is nil. The Refusal is an
// [http.Handler] that answers with its status and text, and it may be changed.
func RefusalOf(err error) *Refusal { return stream.RefusalOf(err) }

// An Event is a frame that is not a message. Fields that a kind does not name are zero:
//
//	Kind, Chat  every event
//	Position    Ready, Reset: where to resume if no message comes before the end
//	Recovered   Ready: whether the socket continues at the position that the client sent
//	Heartbeat   Ready, Reset: the interval between heartbeats
//	Missed      Missed: how many messages; Reset: how many the next Missed will report
//	Device      Joined, Left: the device
//	Seq         Joined, Left, Resync: the Seq of the last message before it
//	Code        Ended: the close code
//	Reason      Ended: the reason as text
//	Err         Ended: the error that CloseCode was called with
//	Present     a function that returns the devices present now; it visits all of the chat
type Event = stream.Event

// A Kind is the kind of an [Event].
type Kind = stream.Kind

// The kinds of events.
const (
	// Ready is the first frame of a socket. The messages that follow begin without a gap.
	Ready = stream.Ready

	// Reset comes in place of Ready if the client asked to resume and messages are missing, or may
	// be. If Missed is above 0, that many messages are no longer kept. If it is 0, the position is
	// of no use: the chat was forgotten in the meantime, and the client should clear what it shows.
	Reset = stream.Reset

	// Missed comes before the message that follows lost ones.
	Missed = stream.Missed

	// Renumbered comes before a message whose Seq has begun anew, because an engine has lost its
	// memory, and an unknown number of messages with it, or because this is the next chat of the
	// name; see [broadcast.Delivery].
	Renumbered = stream.Renumbered

	// Joined and Left report, with [broadcast.WithPresence], that a device has joined or left.
	Joined = stream.Joined
	Left   = stream.Left

	// Resync reports that the client has lost Joined or Left events.
	Resync = stream.Resync

	// Heartbeat tells a client, which cannot see pings, that the socket is alive.
	Heartbeat = stream.Heartbeat

	// Ended is the last frame, before the close frame.
	Ended = stream.Ended
)

// An Observer is notified of what happens to the sockets of a server. Any of its functions may be
// nil:
//
//	Opened()                 a socket has begun to deliver
//	Refused(status int)      a request was answered with an error
//	Closed(reason error)     a socket has ended
//	Batch(frames, bytes int) a batch was written
//	Short(bytes int)         the kernel took part of a batch: the bytes left
//
// The goroutines of the sockets call them concurrently, and block until they return.
type Observer = stream.Observer

// Stats holds the counters of a server since it was made:
//
//	Transport string          "websocket"
//	Connections int           sockets that are open now: Opened without Closed
//	Opened uint64             sockets that have begun to deliver
//	Closed map[string]uint64  sockets that have ended, by reason, see docs/sockets.md
//	Refused map[int]uint64    requests that were answered with an error, by status
//	Batches uint64            batches written
//	Frames uint64             messages and events in these
//	Bytes uint64              bytes in these, before TLS
//	ShortWrites uint64        batches that the kernel did not take at once
//	ShortBytes uint64         bytes that were left over
type Stats = stream.Stats

// Why a socket ends, besides the reasons for which a subscription does. Test for them with
// [errors.Is].
var (
	// ErrLeft means that the client has closed the socket, or that the connection broke.
	ErrLeft = stream.ErrLeft

	// ErrDrained means that Drain was called, and that the client got everything.
	ErrDrained = stream.ErrDrained

	// ErrTimeout means that the client did not read within the WriteTimeout.
	ErrTimeout = stream.ErrTimeout

	// ErrSilent means that the client did not answer pings.
	ErrSilent = stream.ErrSilent
)

// CloseCode returns the close code and its text for the reason of an end, as in the package
// documentation.
func CloseCode(reason error) (code int, text string) { return stream.CodeOf(reason) }

// AppendEvent appends an event as JSON. It is the default of Event.
func AppendEvent(dst []byte, e Event) []byte { return stream.AppendEvent(dst, e) }

// AppendEventWithDevices is [AppendEvent], but the first event of a socket also has the devices
// that are present, as a [Resync] has. Use it as Event with [broadcast.WithPresence].
func AppendEventWithDevices(dst []byte, e Event) []byte {
	return stream.AppendEventWithDevices(dst, e)
}

// LocalHosts returns the names of this machine, as Options.Hosts and [OnlyHosts] take them, if addr
// is a loopback address. If other machines can reach addr, it returns nil, which means any name.
func LocalHosts(addr net.Addr) []string { return stream.LocalHosts(addr) }

// OnlyHosts returns a handler that answers requests to other hosts with 421, as Options.Hosts does,
// and calls next for the rest. It protects what a service has besides its sockets. If hosts is nil,
// any name will do.
func OnlyHosts(hosts []string, next http.Handler) http.Handler {
	return stream.OnlyHosts(hosts, next)
}

// ServeUntil runs an HTTP server on ln until ctx ends, or the listener fails. Then it calls the
// shutdown functions in order, with a context that ends after timeout; usually these are the
// Shutdown of the broker and the Drain of each [Server]. The listener stays open meanwhile, so that
// new clients get an answer. Then it ends the rest: each request that has begun gets its answer,
// and what has not ended with the context is cut. ServeUntil returns when the server has ended,
// with the errors of the listener, of the functions, and of a context that ended too early. It
// closes ln. The server must not be used again.
func ServeUntil(
	ctx context.Context, server *http.Server, ln net.Listener, timeout time.Duration,
	shutdown ...func(context.Context) error,
) error {
	return stream.ServeUntil(ctx, server, ln, timeout, shutdown...)
}
