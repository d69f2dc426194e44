// Package wire defines what both sides of termchat share: frames, limits, names, and how text is
// made harmless before it reaches a terminal.
package wire

import (
	"time"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast/broadcastws"
)

// Limits that both sides know, in bytes. The server enforces them.
const (
	MaxText  = 4096     // of a message
	MaxFile  = 255      // of the name of a file
	MaxFrame = 64 << 10 // of what a client sends; a text that is too long for a message is refused
)

// StatusReplaced closes the connection of somebody whose name has joined the room again. The client
// must not reconnect by itself after it, or the two would replace each other forever.
const StatusReplaced websocket.StatusCode = 4001

// A Message is an entry of a room's log: a text, or a file that was shared.
type Message struct {
	Name string    `json:"name"` // who wrote or shared it
	At   time.Time `json:"at"`
	Text string    `json:"text,omitempty"`
	File *File     `json:"file,omitempty"` // nil: a text
}

// A File is something that was uploaded.
type File struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// The events that a server sends besides those of broadcastws: the answers to what the client has
// sent, in the same order. What the client sends is the text of a message, one in each frame.
const (
	Accepted broadcastws.Kind = "accepted"
	Refused  broadcastws.Kind = "refused" // Reason
)

// An Answer says whether a text that a client has sent was accepted.
type Answer struct {
	Event  broadcastws.Kind `json:"event"`
	Reason string           `json:"reason,omitempty"`
}

// A Frame is what the server sends: a message or an event of broadcastws, or an [Answer]. The first
// frame is [broadcastws.Ready] or [broadcastws.Reset].
type Frame struct {
	Event     broadcastws.Kind `json:"event"` // empty: a message
	Message   *Message         `json:"message"`
	Position  string           `json:"position"`  // where to resume after this frame
	Recovered bool             `json:"recovered"` // Ready: nothing is missing since the position that the client sent
	Missed    uint64           `json:"missed"`    // Missed: messages that will not come; Reset: the same, 0 if unknown
	Device    string           `json:"device"`    // Joined, Left: who
	Devices   []string         `json:"devices"`   // Ready, Reset, Resync: who is in the room
	Reason    string           `json:"reason"`    // Refused
}
