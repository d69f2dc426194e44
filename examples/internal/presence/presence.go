// Package presence tells clients who is present when they connect.
package presence

import (
	"encoding/json"

	"github.com/fbd86cad/broadcast/broadcastws"
)

// AppendEvent is [broadcastws.AppendEvent], but adds the devices that are present to the first
// event of a socket. Use it as the option Event.
func AppendEvent(dst []byte, e broadcastws.Event) []byte {
	dst = broadcastws.AppendEvent(dst, e)
	if e.Kind != broadcastws.Ready && e.Kind != broadcastws.Reset {
		return dst
	}
	devices, _ := json.Marshal(e.Present()) // cannot fail
	return append(append(append(dst[:len(dst)-1], `,"devices":`...), devices...), '}')
}
