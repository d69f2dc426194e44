package brokers_test

import (
	"errors"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/fbd86cad/broadcast"
)

// This file says what a chat on many brokers is if one call comes after the other: what a history
// of calls that overlap may look like. There is one log. Each broker knows a beginning of it, which
// only grows, and contains what the broker has accepted or shown. How much of the rest it knows is
// not promised, except at rest.

const (
	mostMessages = 16
	mostReaders  = 24
	mostBrokers  = 8
)

// logState is the chat between two calls. It holds arrays, so == compares all of it.
type logState struct {
	head     int
	messages [mostMessages]int // that at Seq i+1
	readers  [mostReaders]int  // the Seq that each was at last
	known    [mostBrokers]int  // the Seq up to which each broker must know the log
}

// A deed is a call, or what is known when it has returned.
type deed struct {
	kind    deedKind
	broker  int // one that was started again is another one
	reader  int
	message int
	at      int  // the Seq at which readers have seen the message; 0 if nobody has
	resume  int  // the Seq of the position, or none
	replay  int  // if there is none
	trimmed bool // the engine does not keep everything
}

// none is for a reader that resumes nothing.
const none = -1

type deedKind int

const (
	publishes deedKind = iota
	accepted           // Publish has returned nil
	subscribes
	gets     // a delivery
	asksHead // Head
	asksLast // Last
	rests    // all is at rest, and the reader has taken everything
	restsAt  // Head when all is at rest
)

// A result is what a call returned.
type result struct {
	err       error
	seq       int // of the message, or of the position
	missed    int
	message   int // 0 if there was none
	recovered bool
	late      bool // it took a second
}

// uncertain reports whether the message may take effect at any time, or never.
func (r result) uncertain() bool { return errors.Is(r.err, broadcast.ErrUncertain) }

// step does one deed and reports whether it may have had this result.
func (s logState) step(d *deed, r result) (bool, logState) {
	switch d.kind {
	case publishes:
		return s.publish(d, r)
	case accepted:
		return s.shows(d, s.find(d.message))
	case subscribes:
		return s.subscribe(d, r)
	case gets:
		last := s.readers[d.reader]
		if r.seq != last+1+r.missed || r.missed > 0 && !d.trimmed || !s.has(r) {
			return false, s
		}
		s.readers[d.reader] = r.seq
		return s.shows(d, r.seq)
	case asksLast:
		if r.message == 0 {
			return s.known[d.broker] == 0 || d.trimmed, s
		}
		if !s.has(r) || r.seq < s.known[d.broker] {
			return false, s
		}
		return s.shows(d, r.seq)
	case asksHead:
		return s.knows(d, r.seq)
	case rests:
		return s.readers[d.reader] == s.head, s
	case restsAt:
		return r.seq == s.head, s
	}
	return false, s
}

// publish gives a message its Seq, unless it was refused. If it never takes effect, that is after
// all other deeds.
func (s logState) publish(d *deed, r result) (bool, logState) {
	switch {
	case r.err != nil && !r.uncertain():
		return true, s
	case s.head == mostMessages, d.at > 0 && d.at != s.head+1:
		return false, s
	}
	s.messages[s.head] = d.message
	s.head++
	return true, s
}

// subscribe begins a reader.
func (s logState) subscribe(d *deed, r result) (bool, logState) {
	s.readers[d.reader] = r.seq
	known := s.known[d.broker]
	switch resumed := d.resume != none && r.seq == d.resume; {
	case resumed && (r.recovered || d.trimmed):
		return s.shows(d, r.seq)
	case d.resume != none:
		if r.recovered || d.resume <= known || !r.late {
			return false, s
		} // else the broker has not reached it in time, and begins now
	case d.replay > 0 && d.trimmed:
		return s.shows(d, r.seq)
	case d.replay > 0 && r.seq == 0: // the log was not longer
		return r.recovered && known <= d.replay, s
	case d.replay > 0:
		if !r.recovered || r.seq+d.replay < known {
			return false, s
		}
		return s.shows(d, r.seq+d.replay)
	}
	return s.knows(d, r.seq)
}

// find returns the Seq of a message, or 0.
func (s logState) find(message int) (seq int) {
	for i, m := range s.messages {
		if m == message {
			return i + 1
		}
	}
	return 0
}

// has reports whether the log has the message of a result at its Seq.
func (s logState) has(r result) bool {
	return r.seq > 0 && r.seq <= s.head && s.messages[r.seq-1] == r.message
}

// shows notes that a broker knows the log up to a Seq, which must exist.
func (s logState) shows(d *deed, seq int) (bool, logState) {
	s.known[d.broker] = max(s.known[d.broker], seq)
	return seq <= s.head, s
}

// knows is shows for a broker that does not know less than before.
func (s logState) knows(d *deed, seq int) (bool, logState) {
	possible, next := s.shows(d, seq)
	return possible && seq >= s.known[d.broker], next
}

var logModel = porcupine.Model{
	Init: func() any { return logState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(logState).step(input.(*deed), output.(result))
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%v %v", input, output.(result).describe(input.(*deed)))
	},
	DescribeState: func(state any) string {
		s := state.(logState)
		return fmt.Sprintf("%v, brokers know %v, readers are at %v", s.messages[:s.head], s.known, s.readers)
	},
}

// String prints a deed.
func (d *deed) String() string {
	on := fmt.Sprintf("broker %d: ", d.broker)
	switch d.kind {
	case publishes:
		return on + fmt.Sprintf("Publish(%d)", d.message)
	case accepted:
		return on + fmt.Sprintf("%d is accepted", d.message)
	case subscribes:
		return on + fmt.Sprintf("Subscribe(Resume(%d), Replay(%d)) as reader %d", d.resume, d.replay, d.reader)
	case gets:
		return on + fmt.Sprintf("reader %d gets", d.reader)
	case asksHead:
		return on + "Head()"
	case asksLast:
		return on + "Last()"
	case rests:
		return on + fmt.Sprintf("reader %d has everything", d.reader)
	}
	return on + "Head() at rest"
}

// describe prints a result.
func (r result) describe(d *deed) string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case d.kind == gets || d.kind == asksLast:
		return fmt.Sprintf("message %d, Seq %d, Missed %d", r.message, r.seq, r.missed)
	case d.kind == subscribes:
		return fmt.Sprintf("at %d, recovered: %v", r.seq, r.recovered)
	case d.kind == asksHead || d.kind == restsAt:
		return fmt.Sprint(r.seq)
	}
	return ""
}
