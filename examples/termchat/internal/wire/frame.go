// Package wire defines what both sides of termchat share: the JSON frames, the limits, the names,
// and how text is made harmless before it reaches a terminal.
package wire

import (
	"time"

	"github.com/coder/websocket"
)

// Limits that both sides know. The server enforces them.
const (
	MaxText  = 4096     // bytes of a message
	MaxName  = 32       // characters of the name of a room or of somebody in it
	MaxFile  = 255      // bytes of the name of a file
	MaxFrame = 64 << 10 // bytes of a frame: a text fits in, however badly JSON escapes it
)

// StatusReplaced closes the connection of somebody whose name has joined the room again. The client
// must not reconnect by itself after it, or the two would replace each other for ever.
const StatusReplaced websocket.StatusCode = 4001

// The kinds of frames that a server sends.
const (
	KindHello   = "hello"   // the first one: Room, Name, Members, Pos, Resumed, Missed, Was
	KindMessage = "message" // Name, Text, At
	KindFile    = "file"    // Name, File, At
	KindJoined  = "joined"  // Name
	KindLeft    = "left"    // Name
	KindMembers = "members" // Members: start from here, some comings and goings are not told
	KindAck     = "ack"     // ID: the message of the client was accepted
	KindRefused = "refused" // ID, Text: it was not, and why
)

// Frame is what the server sends. Those with Pos are from the room's log: a client that resumes
// after Pos misses nothing.
type Frame struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name,omitempty"`
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at,omitzero"`
	File    *File     `json:"file,omitempty"`
	Room    string    `json:"room,omitempty"`
	Members []string  `json:"members,omitempty"`
	Resumed Resumed   `json:"resumed,omitempty"`
	Was     string    `json:"was,omitempty"` // why the last connection was cut, if nobody could be told
	ID      uint64    `json:"id,omitempty"`
	Pos     string    `json:"pos,omitempty"`
	Missed  uint64    `json:"missed,omitempty"` // messages that will not come, just before this one
}

// Resumed says, in a hello, what became of the position that the client asked for.
type Resumed string

// What can become of a position.
const (
	NotAsked Resumed = ""
	Complete Resumed = "complete" // everything since will come
	Gone     Resumed = "gone"     // Missed messages will not come, everything since will
	Unknown  Resumed = "unknown"  // the position is of a log that does not exist any more: this is what there is
)

// File is something that was uploaded.
type File struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Post is what a client sends: a message, and a number that it chooses, which the answer repeats.
type Post struct {
	ID   uint64 `json:"id"`
	Text string `json:"text"`
}
