package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

// message is what the broker carries: the data lines of an event, made once however many streams get it. The first line tells of the
// message, as JSON; the others are the lines of its text.
type message string

func newMessage(p post.Message, at time.Time) message {
	about := toJSON(struct {
		At   time.Time   `json:"at"`
		By   httpjson.ID `json:"by"`
		Chat httpjson.ID `json:"chat"`
	}{at, p.By, p.Chat})
	return message("data: " + about + "\ndata: " + dataLines.Replace(p.Text) + "\n")
}

// dataLines puts every line of a text on a data line of its own. CR, LF and CRLF all end a line of an event stream, so that a text
// with any of them left in could end the event and begin one of its own choosing.
var dataLines = strings.NewReplacer("\r\n", "\ndata: ", "\n", "\ndata: ", "\r", "\ndata: ")

// appendTo appends the message as an event. The id makes it the place where the client resumes.
func (m message) appendTo(b []byte, id string) []byte {
	b = append(b, "id: "...)
	b = append(b, id...)
	b = append(b, '\n')
	b = append(b, m...)
	return append(b, '\n')
}

// The events other than messages.
const (
	eventReady    = "ready"    // the stream begins, and continues the client's last one without a gap if it had one
	eventReset    = "reset"    // the stream begins and cannot continue it; what follows is all that is still kept
	eventMissed   = "missed"   // messages are missing here
	eventReplaced = "replaced" // the end: the device has opened another stream
	eventSlow     = "slow"     // the end: the client was too slow; it may resume
	eventShutdown = "shutdown" // the end: the server is shutting down; the client may resume
)

// notice is the data of all these events. What does not apply is left out.
type notice struct {
	Resumed bool   `json:"resumed,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Missed  uint64 `json:"missed,omitempty"` // how many messages, if that is known
}

// appendTo appends an event. Without an id the client's place stays where it is.
func (n notice) appendTo(b []byte, event, id string) []byte {
	if id != "" {
		b = append(b, "id: "+id+"\n"...)
	}
	return append(b, "event: "+event+"\ndata: "+toJSON(n)+"\n\n"...)
}

// appendRetry appends how long the client is to wait before it reconnects.
func appendRetry(b []byte, d time.Duration) []byte {
	return append(b, "retry: "+strconv.FormatInt(d.Milliseconds(), 10)+"\n"...)
}

// heartbeat is a comment.
const heartbeat = ":\n\n"

// toJSON is for values that cannot fail, on one line.
func toJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
