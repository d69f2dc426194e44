package server

import (
	"encoding/json"
	"strconv"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// message is what the broker carries: a frame as JSON, marshalled once, without its closing brace.
// For each socket the position and the brace are appended, which takes no encoder. It is a string
// because all readers share what is published, so it must not change.
type message string

func newMessage(f wire.Frame) (message, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	return message(b[:len(b)-1]), nil
}

// appendFrame appends a delivered message as one socket gets it.
func appendFrame(frame []byte, d broadcast.Delivery[message]) []byte {
	frame = append(frame, d.Message...)
	frame = append(frame, `,"pos":"`...)
	frame = append(frame, d.Position().String()...)
	frame = append(frame, '"')
	if d.Missed > 0 {
		frame = append(frame, `,"missed":`...)
		frame = strconv.AppendUint(frame, d.Missed, 10)
	}
	return append(frame, '}')
}

// presence returns the frame for a delivery that is not a message. members is called only if it is
// needed.
func presence(d broadcast.Delivery[message], members func() []string) wire.Frame {
	switch d.Kind {
	case broadcast.Joined:
		return wire.Frame{Kind: wire.KindJoined, Name: d.Device}
	case broadcast.Left:
		return wire.Frame{Kind: wire.KindLeft, Name: d.Device}
	}
	return wire.Frame{Kind: wire.KindMembers, Members: members()}
}
