package modeltest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/fbd86cad/broadcast"
)

// This file says what one chat is if one call comes after the other: all that a history of calls
// that overlap may look like.

const (
	maxReaders  = 8
	maxMessages = 16
	maxBuffer   = 3
)

// chatState is the chat between two calls. It holds arrays and no pointers, so that a copy is a
// copy and == compares all of it.
type chatState struct {
	phase    phase
	head     int
	messages [maxMessages]int // that at Seq i+1
	readers  [maxReaders]readerState
}

// phase is how far the end of the broker has come. While it is closing, some are refused already
// and others not yet. When it is closed, all are refused, and one subscription after the other
// ends. When it is over, all of them have.
type phase int

const (
	stillOpen phase = iota
	closing
	closed
	over
)

// errEither is the reason of a subscription that either its own Close or that of the broker has
// ended.
var errEither = errors.New("closed by itself or by the broker")

// readerState is one subscription, open or ended.
type readerState struct {
	device   int
	strategy broadcast.Sampling
	buffer   int
	reason   error // nil while open, and if there is none
	gone     bool  // it ended, and nothing can be read any more
	joined   int
	head     int            // when it ended
	last     int            // Seq that was taken last, or joined
	taken    int            // how many
	queue    [maxBuffer]int // Seqs that wait, or were discarded
	waiting  int            // how many of queue
}

func (r *readerState) open() bool { return r.buffer > 0 && r.reason == nil }
func (r *readerState) full() bool { return r.open() && r.waiting == r.buffer }

// drop takes the oldest element out of the queue.
func (r *readerState) drop() {
	copy(r.queue[:], r.queue[1:r.waiting])
	r.waiting--
	r.queue[r.waiting] = 0
}

// end ends a subscription if it has not ended.
func (s *chatState) end(r *readerState, reason error, gone bool) {
	if r.open() {
		r.reason, r.gone, r.head = reason, gone, s.head
	}
}

// accept gives a message its Seq and runs the strategies. A full Block reader forbids it.
func (s *chatState) accept(message int) bool {
	if s.phase >= closed {
		return false
	}
	seq := s.head + 1
	for i := range s.readers {
		r := &s.readers[i]
		fits := true
		if r.full() {
			switch r.strategy {
			case broadcast.Block:
				return false
			case broadcast.Disconnect:
				s.end(r, broadcast.ErrSlow, false)
			case broadcast.DropNewest:
				fits = false
			case broadcast.DropOldest:
				r.drop()
			}
		}
		if fits && r.open() {
			r.queue[r.waiting] = seq
			r.waiting++
		}
	}
	s.head = seq
	s.messages[seq-1] = message
	return true
}

// step does one call and reports whether it may have had this answer.
func (s chatState) step(c *call, a answer) (bool, chatState) {
	r := &s.readers[c.reader]
	canceled := a.err == context.Canceled && c.cancel != notCancelled
	switch c.kind {
	case closeBegins:
		s.phase = max(s.phase, closing)
	case closeRefuses:
		if s.phase == stillOpen {
			return false, s
		}
		s.phase = max(s.phase, closed)
	case closeEnds:
		if s.phase < closed {
			return false, s
		}
		s.phase = over
		for i := range s.readers {
			s.end(&s.readers[i], broadcast.ErrBrokerClosed, false)
		}
	case acted:
		if r.full() {
			s.end(r, broadcast.ErrSlow, false)
		}
		return r.reason != nil, s
	case subscribe:
		if a.err != nil || s.phase >= closed {
			return a.err == broadcast.ErrBrokerClosed && s.phase != stillOpen, s
		}
		for i := range s.readers {
			if s.readers[i].device == c.device {
				s.end(&s.readers[i], broadcast.ErrReplaced, true)
			}
		}
		*r = readerState{device: c.device, strategy: c.strategy, buffer: c.buffer, joined: s.head, last: s.head}
	case publish, tryPublish:
		switch a.err {
		case nil:
			return c.cancel != alreadyDone && s.accept(c.message), s
		case broadcast.ErrBrokerClosed:
			return s.phase != stillOpen, s
		case broadcast.ErrOverloaded:
			return c.cancel != alreadyDone && (c.crowded || s.waitedFor(c)), s
		}
		return canceled && s.phase < closed, s
	case next:
		switch {
		case s.phase >= closed && a.err == broadcast.ErrBrokerClosed && (r.open() || r.reason == errEither):
			r.reason = nil
			s.end(r, broadcast.ErrBrokerClosed, r.gone)
		case a.err == broadcast.ErrClosed && r.reason == errEither:
			r.reason = broadcast.ErrClosed
		}
		ended := r.reason != nil && (r.gone || r.waiting == 0)
		if a.err != nil {
			return ended && a.err == r.reason || !ended && canceled, s
		}
		return c.cancel != alreadyDone && s.take(r, a), s
	case tryNext:
		if !a.ok {
			return r.gone || r.waiting == 0, s
		}
		return s.take(r, a), s
	case closeReader:
		if r.open() && s.phase == closed {
			s.end(r, errEither, true)
		}
		s.end(r, broadcast.ErrClosed, true)
		r.gone = true
	case stats:
		return a.stats == s.books(r), s
	}
	return true, s
}

// waitedFor reports whether there is a reader for which a publisher would wait, or that refuses
// TryPublish.
func (s *chatState) waitedFor(c *call) bool {
	for i := range s.readers {
		if r := &s.readers[i]; r.full() && (r.strategy == broadcast.Block || c.patience && c.kind == publish) {
			return true
		}
	}
	return false
}

// take takes the oldest message and reports whether the answer says the same.
func (s *chatState) take(r *readerState, a answer) bool {
	if r.gone || r.waiting == 0 {
		return false
	}
	seq := r.queue[0]
	same := a.seq == seq && a.missed == seq-r.last-1 && a.message == s.messages[seq-1]
	r.drop()
	r.last = seq
	r.taken++
	return same
}

// books are what Stats of a subscription must show.
func (s *chatState) books(r *readerState) broadcast.SubscriberStats {
	head := s.head
	if r.reason != nil {
		head = r.head
	}
	b := broadcast.SubscriberStats{
		Joined:    uint64(r.joined),
		Head:      uint64(head),
		Delivered: uint64(r.taken),
		Missed:    uint64(head - r.joined - r.taken - r.waiting),
		Pending:   uint64(r.waiting),
	}
	if r.gone {
		b.Pending, b.Discarded = 0, b.Pending
	}
	return b
}

var chatModel = porcupine.Model{
	Init: func() any { return chatState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(chatState).step(input.(*call), output.(answer))
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%v → %v", input, output.(answer).describe(input.(*call)))
	},
	DescribeState: func(state any) string {
		s := state.(chatState)
		description := fmt.Sprintf("head %d", s.head)
		for i, r := range s.readers {
			if r.buffer > 0 {
				description += fmt.Sprintf("; reader %d: %v of %d, taken up to %d, %v", i, r.queue[:r.waiting], r.buffer, r.last, r.reason)
			}
		}
		return description
	},
}
