package main

import (
	"encoding/json"
	"strconv"
	"time"
)

// message is what the broker carries: a posted message as JSON, marshalled once, without its closing brace. The seq and missed of a
// delivery and the brace are appended for each socket, which takes no encoder. It is a
// string because what is published is shared by all readers and must not change.
type message string

func newMessage(p post, at time.Time) (message, error) {
	b, err := json.Marshal(struct {
		Text string    `json:"text"`
		At   time.Time `json:"at"`
		By   id        `json:"by"`
		Chat id        `json:"chat"`
	}{p.Text, at, p.By, p.Chat})
	if err != nil {
		return "", err
	}
	return message(b[:len(b)-1]), nil
}

// appendFrame appends the message as one socket gets it.
func (m message) appendFrame(frame []byte, seq, missed uint64) []byte {
	frame = append(frame, m...)
	frame = append(frame, `,"seq":`...)
	frame = strconv.AppendUint(frame, seq, 10)
	frame = append(frame, `,"missed":`...)
	frame = strconv.AppendUint(frame, missed, 10)
	return append(frame, '}')
}
