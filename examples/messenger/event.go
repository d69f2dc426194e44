package main

import (
	"encoding/json"
	"strconv"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
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
	Chat      httpjson.ID        `json:"chat"`
	Recovered bool               `json:"recovered"` // it continues where the client asked for, and nothing is missing
	Missed    uint64             `json:"missed"`    // messages that the next one will count as missed, as far as is known already
	Position  broadcast.Position `json:"position"`  // where to resume if there is no message before the connection breaks
	Devices   []httpjson.ID      `json:"devices"`
}

// newReady describes a subscription that was asked to begin after a position, and of which nothing has been read.
func newReady(sub *broadcast.Subscriber[message], chat httpjson.ID, after broadcast.Position, devices []httpjson.ID) ready {
	recovered := after != (broadcast.Position{}) && sub.Recovered() // a newcomer, whose Replay may be complete, has nothing to recover
	return ready{eventReady, chat, recovered, sub.Stats().Missed, sub.Position(), devices}
}

// resync tells who is there when comings and goings were lost.
type resync struct {
	Event   string        `json:"event"`
	Chat    httpjson.ID   `json:"chat"`
	Seq     uint64        `json:"seq"`
	Devices []httpjson.ID `json:"devices"`
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
