package broadcast

import (
	"context"

	"github.com/fbd86cad/broadcast/internal/flow"
)

// take takes the next message. If there is none, ok is false, and err is the reason if the
// subscription has ended.
//
// The fast path loads the head, reads the slot, and advances the cursor. It needs no lock, because
// a slot below the head never changes. It serves every reader that follows the log within its
// buffer.
func (s *Subscriber[T]) take(d *Delivery[T]) (ok bool, err error) {
	for {
		// Load the word before the head: if the word has no Slow, the subscription had not ended
		// at that head. Load the head before the events: later events come after it.
		w := s.at.Load()
		position, head := w.Position(), s.chat.log.Head()
		if w.Slow() || s.follower.Behind() {
			return s.takeSlow(d)
		}
		if position == head {
			return false, nil
		}
		numbers := s.numbers.Load()
		if numbers.Left(position, 1) == 0 { // a mark is before the message
			return s.takeSlow(d)
		}
		segment := s.segmentOf(position + 1)
		if segment == nil || !s.advance(w, 1, head) {
			continue // an end, a strategy, or a second reader intervened
		}
		d.Chat, d.epoch = s.chat.name, s.chat.numbers.Epoch(numbers)
		d.Seq = numbers.Number(position + 1)
		d.Missed, d.Reset, d.Kind, d.Device = 0, false, Published, ""
		d.Message = *segment.At(position + 1)
		return true, nil
	}
}

// takeMore takes as many messages as are available and fit.
func (s *Subscriber[T]) takeMore(into []Delivery[T]) (n int) {
	for n < len(into) {
		if run := s.takeRun(into[n:]); run > 0 {
			n += run
			continue
		}
		if ok, _ := s.take(&into[n]); !ok {
			break
		}
		n++
	}
	return n
}

// takeRun takes the next messages of one segment in one step, on the fast path of take. It returns
// 0 if take must be used instead.
func (s *Subscriber[T]) takeRun(into []Delivery[T]) (n int) {
	w, head, n := s.copyRun(into)
	return s.settleRun(w, head, into[:n])
}

// copyRun copies the next messages of one segment, as far as they fit. settleRun then takes them.
func (s *Subscriber[T]) copyRun(into []Delivery[T]) (w flow.Word, head uint64, n int) {
	w, head = s.at.Load(), s.chat.log.Head() // in the order of take
	if w.Slow() || s.follower.Behind() || w.Position() == head {
		return w, head, 0
	}
	segment := s.segmentOf(w.Position() + 1)
	if segment == nil {
		return w, head, 0
	}
	slots := segment.From(w.Position() + 1)
	numbers, left := s.numbers.Load(), min(uint64(len(into)), uint64(len(slots)), head-w.Position())
	n = int(numbers.Left(w.Position(), left))
	epoch, seq := s.chat.numbers.Epoch(numbers), numbers.Number(w.Position()+1)
	for i := range slots[:n] {
		d := &into[i]
		d.Chat, d.epoch, d.Seq = s.chat.name, epoch, seq+uint64(i)
		d.Missed, d.Reset, d.Kind, d.Device = 0, false, Published, ""
		d.Message = slots[i]
	}
	return w, head, n
}

// settleRun takes what was copied when the word was w, and returns how many messages that are. If
// the word has changed since, it takes nothing, and clears the copies.
func (s *Subscriber[T]) settleRun(w flow.Word, head uint64, copies []Delivery[T]) (n int) {
	if len(copies) == 0 {
		return 0
	}
	if !s.advance(w, uint64(len(copies)), head) {
		clear(copies)
		return 0
	}
	return len(copies)
}

// takeSlow takes the next message under the chat's lock. It serves readers with flow.Slow: those
// that ended, have no room, used up the patience of publishers, or are watched for a stall.
func (s *Subscriber[T]) takeSlow(d *Delivery[T]) (ok bool, err error) {
	v, ok := s.enter()
	if !ok {
		return false, errBusy
	}
	defer v.exit()
	if s.unsettledAtEnd() != nil {
		return false, errBusy
	}
	if !s.sampleLocked(&v.verdict) {
		return false, nil // the subscription ends, and the caller will see that
	}
	s.at.Set(flow.Slow) // may have been cleared meanwhile; progressLocked clears it if possible
	if reason := s.nothingLeft(); reason != nil {
		return false, reason
	}
	index, ok := s.peekLocked(d)
	if ok {
		s.settleLocked(d.Kind, index)
	}
	s.progressLocked()
	return ok, nil
}

// poll takes the next message if there is one. If the reader must wait, ok is false and err is nil.
func (s *Subscriber[T]) poll(ctx context.Context, d *Delivery[T]) (ok bool, err error) {
	if err := ctx.Err(); err != nil {
		if reason := s.nothingLeft(); reason != nil {
			return false, reason
		}
		s.dropStaleSegment()
		return false, err
	}
	ok, err = s.take(d)
	if !ok {
		*d = Delivery[T]{} // a waiting reader must not retain a message
	}
	if err == errBusy {
		err = nil
	}
	return ok, err
}

// checkRead reports invalid arguments of a read, and settles what Messages has yielded.
func (s *Subscriber[T]) checkRead(ctx context.Context) error {
	switch {
	case !s.valid():
		return invalidf("subscriber was not made by Subscribe")
	case ctx == nil:
		return invalidf("nil context")
	}
	s.report()
	return nil
}

// report settles the messages that Messages has yielded ahead of the cursor.
func (s *Subscriber[T]) report() {
	if s.ahead == 0 {
		return
	}
	n := uint64(s.ahead)
	s.ahead = 0
	for {
		w := s.at.Load()
		if w.Slow() {
			s.reportSlow(n)
			return
		}
		head := s.chat.log.Head()
		// Less than n if a second goroutine reads by mistake.
		if s.advance(w, min(n, head-w.Position()), head) {
			return
		}
	}
}

// reportSlow is report under the lock. If the subscription has ended, it corrects the counters:
// these messages were taken.
func (s *Subscriber[T]) reportSlow(n uint64) {
	v, ok := s.enter()
	if !ok {
		return // unreachable: only DropOldest reads ahead, and it is never busy
	}
	defer v.exit()
	s.at.Set(flow.Slow) // as in takeSlow
	_, head := s.headLocked()
	s.at.MoveTo(min(s.at.Position()+n, head))
	s.progressLocked()
}

// dropStaleSegment makes sure that a reader which stops reading pins no part of the log. It may
// have stored a segment after another goroutine had set it to nil.
func (s *Subscriber[T]) dropStaleSegment() {
	if s.at.Load().Slow() {
		if v, ok := s.enter(); ok {
			v.exit()
		}
	}
}
