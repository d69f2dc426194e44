// Package numbering gives the messages of a log their numbers.
//
// A log counts its messages from 1 without gaps; this is the index of a message. Readers see its
// number. In a log that only this process appends to, the two are the same. They differ if the
// messages come from an engine: numbers may be missing, because messages were lost on the way,
// which is a hole; and the numbers may begin anew in another numbering, named by an epoch, which is
// a reset. Holes and resets are marks. A mark is between two messages. The messages between two
// marks are a [Span], in which number and index differ by a constant.
//
// The spans of a log are a linked list, from older to newer. A reader of the log points at the span
// of the message that it has taken last, and finds later ones from there without a lock. So a span
// lives as long as a reader needs it, and a mark costs a reader nothing before the reader passes
// it.
//
// The head of a log is its last message, and the tail of a table is the last span.
package numbering

import (
	"errors"
	"sync/atomic"
)

// A Span is a run of messages between two marks. Its methods are safe for concurrent use.
type Span struct {
	from  uint64 // index of the message before the first one
	epoch uint64 // names the numbering; 0 in plain, whose table has it
	shift uint64 // number - index; may wrap around

	// Sums over all marks up to here. They may wrap around, but differences come out right.
	lost   uint64 // numbers in holes
	resets uint64

	// next is the span after this one. It is stored with the log's lock held, before the head of
	// the log goes beyond next.from, so a reader that has loaded the head sees it. If another mark
	// is set at the same place, it is stored again.
	next atomic.Pointer[Span]
}

// plain is the only span of all tables without marks.
var plain Span

// Number returns the number of a message in the span.
func (s *Span) Number(index uint64) uint64 { return index + s.shift }

// Within is Number for a message that may come after the span: then it returns the last number in
// the span.
func (s *Span) Within(index uint64) uint64 {
	if next := s.next.Load(); next != nil {
		index = min(index, next.from)
	}
	return s.Number(index)
}

// Left returns how many of the n messages after an index are in the span.
func (s *Span) Left(index, n uint64) uint64 {
	if next := s.next.Load(); next != nil {
		return min(n, next.from-min(index, next.from))
	}
	return n
}

// At returns the span of a message, which must not be before s.
func (s *Span) At(index uint64) *Span {
	for next := s.next.Load(); next != nil && next.from < index; next = s.next.Load() {
		s = next
	}
	return s
}

// Lost returns how many numbers are in the holes between the spans s and to.
func (s *Span) Lost(to *Span) uint64 { return to.lost - s.lost }

// Resets returns how often the numbers began anew between the spans s and to.
func (s *Span) Resets(to *Span) uint64 { return to.resets - s.resets }

// Whole reports whether there are no marks between the spans s and to.
func (s *Span) Whole(to *Span) bool { return s.lost == to.lost && s.resets == to.resets }

// mostSpans is how many spans a table knows. Tests change it.
var mostSpans = 256

// A Table is the numbering of one log. The lock of the log guards it, but for Epoch.
type Table struct {
	epoch uint64 // of all messages; 0 if there may be marks
	marks *marks // nil if there are none, and never will be
}

// marks are the spans of a table in which marks can be set.
type marks struct {
	list   []*Span // the last ones, at least one; also those between two resets at the same place
	before *Span   // the last one that begins at an earlier place than the tail; may be nil
}

// Plain returns a table in which no marks can be set: the number of a message is its index. The
// epoch must not be 0.
func Plain(epoch uint64) Table { return Table{epoch: epoch} }

// Marked returns a table in which marks can be set. The first message has number+1.
func Marked(epoch, number uint64) Table {
	return Table{marks: &marks{list: []*Span{{epoch: epoch, shift: number}}}}
}

// Epoch returns the name of the numbering in a span of the table. It is safe for concurrent use.
func (t *Table) Epoch(s *Span) uint64 { return t.epoch + s.epoch }

// Tail returns the span of the next message.
func (t *Table) Tail() *Span {
	if t.marks == nil {
		return &plain
	}
	return t.marks.list[len(t.marks.list)-1]
}

// Oldest returns the index after which the table knows all spans: it forgets all but the last 256.
func (t *Table) Oldest() uint64 {
	if t.marks == nil {
		return 0
	}
	return t.marks.list[0].from
}

// At returns the span of a message after Oldest.
func (t *Table) At(index uint64) *Span {
	if t.marks == nil {
		return &plain
	}
	list := t.marks.list
	i := len(list) - 1
	for i > 0 && list[i].from >= index {
		i--
	}
	return list[i]
}

// Resets returns how often the numbers began anew.
func (t *Table) Resets() uint64 { return t.Tail().resets }

// Errors of [Table.Hole] and [Table.Reset], which then change nothing.
var (
	errOverflow = errors.New("numbers would overflow")
	errOldEpoch = errors.New("epoch is not larger than the last one")
)

// Hole marks that the next n numbers are lost. head is the index of the last message.
func (t *Table) Hole(head, n uint64) error {
	tail := t.Tail()
	if number := tail.Number(head); number+n < number {
		return errOverflow
	}
	t.mark(&Span{
		from: head, epoch: tail.epoch, shift: tail.shift + n, lost: tail.lost + n, resets: tail.resets,
	})
	return nil
}

// Reset marks that the next message has number+1 in a new numbering. head is the index of the last
// message. Epochs must grow, so that a position in an old numbering is never taken for one in the
// new one.
func (t *Table) Reset(head, epoch, number uint64) error {
	tail := t.Tail()
	if epoch <= tail.epoch {
		return errOldEpoch
	}
	t.mark(&Span{
		from: head, epoch: epoch, shift: number - head, lost: tail.lost, resets: tail.resets + 1,
	})
	return nil
}

// mark appends a span.
func (t *Table) mark(s *Span) {
	tail, m := t.Tail(), t.marks
	if tail.from < s.from {
		m.before = tail
	}
	if m.before != nil {
		m.before.next.Store(s)
	}
	tail.next.Store(s) // if nothing is between the two, for readers who point at it
	if tail.from == s.from && tail.epoch == s.epoch {
		m.list[len(m.list)-1] = s // the two holes are one
		return
	}
	if m.list = append(m.list, s); len(m.list) > mostSpans {
		m.list[0] = nil // which the array would keep
		m.list = m.list[1:]
	}
}

// Find returns where a reader begins that has got everything up to a number: the index of the last
// message that has this number or a smaller one in the epoch, and the span from which the reader
// goes on. The marks after that span are those that it has yet to pass. If no message is at the
// number, because it is in a hole, before the first message of the log, or after the last one of an
// old epoch, the span is made for this reader: it counts as lost only the numbers after its own.
// head is the index of the last message. ok is false if the table does not know the epoch, or if
// there is no such number yet.
func (t *Table) Find(epoch, number, head uint64) (at *Span, index uint64, ok bool) {
	if t.marks == nil {
		return &plain, number, epoch == t.epoch && number <= head
	}
	list := t.marks.list
	for i := len(list) - 1; i >= 0; i-- {
		s := list[i]
		switch start := s.Number(s.from); {
		case s.epoch != epoch:
			continue
		case number >= start:
			end, last := head, i == len(list)-1
			if !last {
				end = list[i+1].from
			}
			if index = s.from + (number - start); number-start <= end-s.from {
				return s, index, true
			} else if last {
				return nil, 0, false
			}
			at = &Span{from: s.from, epoch: epoch, shift: number - end, lost: s.lost, resets: s.resets}
			if list[i+1].epoch == epoch { // the number is in the hole
				at.lost += number - s.Number(end)
			}
			at.next.Store(s.next.Load())
			return at, end, true
		case i == 0 || list[i-1].epoch != epoch: // before all that the log has ever had
			at = &Span{
				from: s.from, epoch: epoch, shift: number - s.from, lost: s.lost - (start - number),
				resets: s.resets,
			}
			at.next.Store(s)
			return at, s.from, true
		}
	}
	return nil, 0, false
}
