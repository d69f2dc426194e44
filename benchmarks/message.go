package main

import (
	"errors"
	"fmt"
	"time"
)

// Message is what everybody is given to send: 56 bytes.
type Message [7]int64

// The words of a message.
const (
	wordSeq = iota // from 1 on in each chat, or finish
	wordAt         // when it was published, for latencies
)

// finish in the place of a Seq tells readers that nothing more comes.
const finish = -1

// epoch is what moments are counted from.
var epoch = time.Now()

// now is a moment in nanoseconds.
func now() int64 { return int64(time.Since(epoch)) }

var errOrder = errors.New("lost, duplicated or out of order")

// disorder is the error of a reader that got what was not next.
func disorder(got, want int64) error {
	return fmt.Errorf("got message %d, not %d: %w", got, want, errOrder)
}

// talk publishes in one chat, and numbers the messages.
type talk struct {
	publish func(Message)
	seq     int64
}

func (t *talk) say(n int) {
	for range n {
		t.seq++
		t.publish(Message{wordSeq: t.seq})
	}
}
