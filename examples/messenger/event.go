package main

import (
	"encoding/json"
	"strconv"

	"github.com/fbd86cad/broadcast"
)

// The frames that are no messages have an "event", which messages have not.
const (
	eventReady  = "ready"  // the first frame of a socket
	eventJoined = "joined" // a device has come
	eventLeft   = "left"   // a device has gone, and has not come back within the leave grace
	eventResync = "resync" // too many came and went for this client: here is who is there now
)

// ready is the first frame of a socket. The devices are those that were there after it subscribed: whoever comes or goes
// from then on is told, some perhaps twice, which does no harm.
type ready struct {
	Event     string             `json:"event"`
	Chat      id                 `json:"chat"`
	Recovered bool               `json:"recovered"` // it continues where the client asked for, and nothing is missing
	Missed    uint64             `json:"missed"`    // messages that the next one will count as missed, as far as is known already
	Position  broadcast.Position `json:"position"`  // where to resume if there is no message before the connection breaks
	Devices   []id               `json:"devices"`
}

// newReady describes a subscription that was asked to begin after a position, and of which nothing has been read.
func newReady(sub *broadcast.Subscriber[message], chat id, after broadcast.Position, devices []id) ready {
	recovered := after != (broadcast.Position{}) && sub.Recovered() // a newcomer, whose Replay may be complete, has nothing to recover
	return ready{eventReady, chat, recovered, sub.Stats().Missed, sub.Position(), devices}
}

// resync tells who is there when comings and goings were lost.
type resync struct {
	Event   string `json:"event"`
	Chat    id     `json:"chat"`
	Seq     uint64 `json:"seq"`
	Devices []id   `json:"devices"`
}

// appendPresence appends who has come or gone. It needs no encoder: chat and device are numbers.
func appendPresence(frame []byte, event string, d broadcast.Delivery[message]) []byte {
	frame = append(frame, `{"event":"`...)
	frame = append(frame, event...)
	frame = append(frame, `","chat":`...)
	frame = append(frame, d.Chat...)
	frame = append(frame, `,"device":`...)
	frame = append(frame, d.Device...)
	frame = append(frame, `,"seq":`...)
	frame = strconv.AppendUint(frame, d.Seq, 10)
	return append(frame, '}')
}

// appendJSON appends a value that cannot fail to become JSON.
func appendJSON(frame []byte, v any) []byte {
	b, _ := json.Marshal(v)
	return append(frame, b...)
}
