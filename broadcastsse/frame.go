package broadcastsse

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// The ids of last events after which a browser must not reconnect.
const (
	idReplaced = "replaced"
	idKicked   = "kicked"
	idEnded    = "ended"
)

// isTerminal reports whether a last event id belongs to a stream that must not be resumed.
func isTerminal(id string) bool { return id == idReplaced || id == idKicked || id == idEnded }

// terminalID returns the id of the last event of a stream that ends for a reason, or nothing if it
// may be resumed.
func terminalID(reason error) string {
	switch {
	case errors.Is(reason, broadcast.ErrEnded):
		return idEnded
	case errors.Is(reason, broadcast.ErrReplaced):
		return idReplaced
	case errors.Is(reason, broadcast.ErrKicked):
		return idKicked
	}
	return ""
}

// A framer formats events as text/event-stream.
type framer struct{ retry time.Duration }

// AppendMessage appends an event without a name.
func (f framer) AppendMessage(dst, payload []byte, at broadcast.Position) []byte {
	return append(appendLines(appendField(dst, "id", at.String()), "data: ", payload), '\n')
}

// AppendEvent appends an event with a name. Only the first and the last event have an id: a client
// that is interrupted after Missed asks for the missing messages again, and may get them.
func (f framer) AppendEvent(dst, payload []byte, e stream.Event) []byte {
	switch e.Kind {
	case stream.Ready, stream.Reset:
		dst = appendField(f.appendRetry(dst), "id", e.Position.String())
	case stream.Ended:
		if id := terminalID(e.Err); id != "" {
			dst = appendField(dst, "id", id)
		}
	}
	return append(appendLines(appendField(dst, "event", string(e.Kind)), "data: ", payload), '\n')
}

// appendRetry appends how long a client is to wait before it returns: not all for the same time.
func (f framer) appendRetry(dst []byte) []byte {
	wait := f.retry + rand.N(f.retry)
	return appendField(dst, "retry", strconv.FormatInt(wait.Milliseconds(), 10))
}

// AppendPing appends nothing: HTTP has no pings.
func (f framer) AppendPing(dst []byte) []byte { return dst }

// AppendPacked appends an event as it is: there is no other form.
func (f framer) AppendPacked(dst, frame []byte) []byte { return append(dst, frame...) }

// appendField appends a field, whose value is on one line.
func appendField(dst []byte, name, value string) []byte {
	return append(append(append(append(dst, name...), ": "...), value...), '\n')
}

// appendLines appends a payload with a prefix before each of its lines. CR, LF and CRLF all end a
// line of an event stream, so with any of them left in it a payload could end its event and forge
// another one.
func appendLines(dst []byte, prefix string, payload []byte) []byte {
	for {
		end := bytes.IndexAny(payload, "\r\n")
		line := payload
		if end >= 0 {
			line = payload[:end]
		}
		dst = append(append(append(dst, prefix...), line...), '\n')
		if end < 0 {
			return dst
		}
		if bytes.HasPrefix(payload[end:], []byte("\r\n")) {
			end++
		}
		payload = payload[end+1:]
	}
}
