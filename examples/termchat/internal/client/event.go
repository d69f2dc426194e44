// Package client is the client's side of termchat: a connection that reconnects by itself and
// resumes where it was, and the transfer of files. It knows nothing of the screen: a user interface
// reads Events.
package client

import "time"

// A State is the state of the connection.
type State int

// The states of a connection.
const (
	Connecting State = iota // on the way to the server
	Online                  // in the room
	Offline                 // lost; the client tries again after Event.Retry
	Closed                  // final; Event.Err tells why
)

// String returns the state as one word.
func (s State) String() string {
	return map[State]string{Connecting: "connecting", Online: "online", Offline: "offline", Closed: "closed"}[s]
}

// An EventKind says what an Event is about, and which of its fields are set.
type EventKind int

// The kinds of events.
const (
	Message      EventKind = iota // Name wrote Text
	Joined                        // Name came into the room
	Left                          // Name is gone
	Members                       // it is known who is in the room: after a join, and after changes that are not told
	StateChanged                  // State, and what Err and Retry say about it
	Missed                        // Missed messages were lost at this place
	FileShared                    // Name has uploaded File
	Notice                        // Text is something to know about the room
)

// An Event is something to show. Its texts are sanitised: each is one line, without anything that a
// terminal would interpret.
type Event struct {
	Kind    EventKind
	Room    string
	Name    string        // who wrote, joined, left, shared
	Text    string        // Message, Notice
	At      time.Time     // when the server accepted it
	Missed  uint64        // Missed: how many messages were lost at this place
	Members []string      // Members, Joined, Left: who is in Room now, sorted
	File    File          // FileShared
	State   State         // StateChanged
	Err     error         // StateChanged to Offline or Closed: why
	Retry   time.Duration // StateChanged to Offline: until the next attempt
}

// A File is something that was uploaded to a room.
type File struct {
	ID, Name string
	Size     int64
	SHA256   string // in hexadecimal
}
