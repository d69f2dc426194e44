package main

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

// message is what the broker carries: a posted message as JSON, marshalled once, without its closing brace. The seq, missed and position
// of a delivery and the brace are appended for each socket, which takes no encoder. It is a
// string because what is published is shared by all readers and must not change.
type message string

func newMessage(p post.Message, at time.Time) (message, error) {
	b, err := json.Marshal(struct {
		Text string      `json:"text"`
		At   time.Time   `json:"at"`
		By   httpjson.ID `json:"by"`
		Chat httpjson.ID `json:"chat"`
	}{p.Text, at, p.By, p.Chat})
	if err != nil {
		return "", err
	}
	return message(b[:len(b)-1]), nil
}

// appendMessage appends a message as one socket gets it.
func appendMessage(frame []byte, d broadcast.Delivery[message]) []byte {
	frame = append(frame, d.Message...)
	frame = append(frame, `,"seq":`...)
	frame = strconv.AppendUint(frame, d.Seq, 10)
	frame = append(frame, `,"missed":`...)
	frame = strconv.AppendUint(frame, d.Missed, 10)
	frame = append(frame, `,"position":"`...)
	frame = append(frame, d.Position().String()...) // letters, digits and a hyphen
	return append(frame, `"}`...)
}
