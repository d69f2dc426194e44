package stream

import (
	"encoding/json"
	"time"

	"github.com/fbd86cad/broadcast"
)

// A Kind is the kind of an [Event].
type Kind string

// The kinds of events.
const (
	// Ready is the first frame. The messages that follow begin without a gap. Recovered tells
	// whether they continue at the position that the client sent.
	Ready Kind = "ready"

	// Reset comes in place of Ready if the client asked to resume and messages are missing, or may
	// be. If Missed is above 0, that many messages are no longer kept. If it is 0, the position is
	// of no use: the chat was forgotten in the meantime, and the client should clear what it shows.
	Reset Kind = "reset"

	// Missed comes before the message that follows lost ones.
	Missed Kind = "missed"

	// Renumbered comes before a message whose Seq has begun anew, because an engine has lost its
	// memory, and an unknown number of messages with it, or because this is the next chat of the
	// name. What the client shows stays true.
	Renumbered Kind = "renumbered"

	// Joined and Left report, with presence, that a device joined or left.
	Joined Kind = "joined"
	Left   Kind = "left"

	// Resync reports that the client has lost Joined or Left events. Present returns who is
	// present.
	Resync Kind = "resync"

	// Heartbeat shows that the connection is alive, to clients that cannot see pings.
	Heartbeat Kind = "heartbeat"

	// Ended is the last frame.
	Ended Kind = "ended"
)

// An Event is a frame that is not a message. Fields that a kind does not name are zero.
type Event struct {
	Kind Kind
	Chat string

	Position  broadcast.Position // Ready, Reset: where to resume if no message comes before the end
	Recovered bool               // Ready: continues where the client asked for
	Heartbeat time.Duration      // Ready, Reset: how often a heartbeat comes

	Missed uint64 // Missed: how many messages; Reset: how many the next Missed will tell

	Device string // Joined, Left: who
	Seq    uint64 // Joined, Left, Resync: of the message before

	Code   int    // Ended: the close code
	Reason string // Ended: in words
	Err    error  // Ended: what CloseCode was called with

	// Present returns who is present, as [broadcast.Broker.Devices]. It is never nil, and takes
	// time: it looks at all devices of the chat.
	Present func() []string
}

// AppendEvent appends an event as JSON, which is how events are encoded unless the options say
// otherwise.
func AppendEvent(dst []byte, e Event) []byte { return appendEvent(dst, e, e.Kind == Resync) }

// AppendEventWithDevices also tells a client that connects who is present.
func AppendEventWithDevices(dst []byte, e Event) []byte {
	return appendEvent(dst, e, e.Kind == Ready || e.Kind == Reset || e.Kind == Resync)
}

func appendEvent(dst []byte, e Event, withDevices bool) []byte {
	fields := struct {
		Event     Kind                `json:"event"`
		Chat      string              `json:"chat"`
		Position  *broadcast.Position `json:"position,omitempty"`
		Recovered *bool               `json:"recovered,omitempty"`
		Heartbeat int64               `json:"heartbeat,omitempty"` // in milliseconds
		Missed    uint64              `json:"missed,omitempty"`
		Device    string              `json:"device,omitempty"`
		Seq       *uint64             `json:"seq,omitempty"`
		Devices   []string            `json:"devices,omitzero"`
		Code      int                 `json:"code,omitempty"`
		Reason    string              `json:"reason,omitempty"`
	}{
		Event: e.Kind, Chat: e.Chat, Heartbeat: e.Heartbeat.Milliseconds(), Missed: e.Missed,
		Device: e.Device, Code: e.Code, Reason: e.Reason,
	}
	switch e.Kind {
	case Ready, Reset:
		fields.Position, fields.Recovered = &e.Position, &e.Recovered
	case Joined, Left, Resync:
		fields.Seq = &e.Seq
	}
	if withDevices {
		fields.Devices = e.Present()
	}
	text, _ := json.Marshal(fields) // cannot fail
	return append(dst, text...)
}

// AppendMessage appends a message as JSON, which is how messages are encoded unless the options say
// otherwise.
func AppendMessage[T any](dst []byte, d broadcast.Delivery[T]) ([]byte, error) {
	text, err := json.Marshal(struct {
		Chat     string             `json:"chat"`
		Message  T                  `json:"message"`
		Seq      uint64             `json:"seq"`
		Position broadcast.Position `json:"position"`
	}{d.Chat, d.Message, d.Seq, d.Position()})
	return append(dst, text...), err
}
