package broadcast

import (
	"time"

	"github.com/fbd86cad/broadcast/internal/background"
	"github.com/fbd86cad/broadcast/internal/chunks"
	"github.com/fbd86cad/broadcast/internal/flow"
)

// stallWatch is the stall state of a reader with a stall timeout. Guarded by the chat's lock.
type stallWatch[T any] struct {
	background.Appointment // when a suspect is ended if it takes nothing; none for others

	reader  *Subscriber[T]
	timeout time.Duration
	index   int // in stalls.unsuspected, if it is not a suspect
}

// stalls holds the readers of a chat that have a stall timeout. Guarded by the chat's lock.
//
// A reader becomes a suspect when the cleaner finds that something waits for it, and stops being
// one when it takes something, which it must do under the lock because Slow is set. So the cleaner
// need not look at suspects before their timeout. It looks at the other readers in rounds; one
// round covers everything published in the meantime. A round over many readers takes several
// visits.
type stalls[T any] struct {
	suspects    background.Queue[*stallWatch[T]]
	unsuspected chunks.List[*stallWatch[T]] // the other readers, in no order
	unseen      int                         // at its start: how many the round has yet to see
	round       time.Time                   // when the next round begins; zero if none is needed
	ended       int                         // readers ended but not logged yet
}

// watchStallsLocked adds a reader with a stall timeout.
func (c *chat[T]) watchStallsLocked(s *Subscriber[T]) {
	if c.stalls == nil {
		c.stalls = new(stalls[T])
	}
	c.stalls.addUnsuspected(s.stall)
	c.armStallCheckLocked() // a replay may be waiting
}

// unwatchStallsLocked removes a reader, and releases everything with the last one.
func (c *chat[T]) unwatchStallsLocked(s *Subscriber[T]) {
	l := c.stalls
	l.remove(s.stall)
	if l.suspects.Len()+l.unsuspected.Len() == 0 {
		l.round = time.Time{}
		c.stalls = nil
	}
}

// armStallCheckLocked schedules a round when something may wait for readers with a stall timeout,
// unless one is scheduled already.
func (c *chat[T]) armStallCheckLocked() {
	if l := c.stalls; l != nil && l.round.IsZero() {
		l.round = time.Now().Add(c.shared.config.slack())
		c.shared.agenda.Schedule(c, l.round)
	}
}

// clearSuspicionLocked records that a reader has taken something. If something still waits for it,
// the next round looks at it again.
func (c *chat[T]) clearSuspicionLocked(s *Subscriber[T]) {
	if s.stall == nil || s.stall.Due().IsZero() {
		return
	}
	c.stalls.remove(s.stall)
	c.stalls.addUnsuspected(s.stall)
	if s.hasUnreadLocked() {
		c.armStallCheckLocked()
	}
}

// hasUnreadLocked reports whether the reader could take something: a message, or an event that it
// was woken for.
func (s *Subscriber[T]) hasUnreadLocked() bool {
	return s.statsLocked().Pending > 0 || s.follower.Woken()
}

// recordStuckLocked records now as the time since which the reader has taken nothing, unless an
// earlier time is recorded. flow.Slow must be set: then the reader takes under the lock, where
// progressLocked clears the time.
func (c *chat[T]) recordStuckLocked(s *Subscriber[T], now time.Time) {
	if s.since == 0 {
		s.since = max(now.Sub(c.shared.began), 1)
	}
}

// stalled returns the suspect whose timeout ends first, if it has ended.
func (l *stalls[T]) stalled(now time.Time) (s *Subscriber[T], ok bool) {
	if l.suspects.Len() == 0 || now.Before(l.suspects.First().Due()) {
		return nil, false
	}
	return l.suspects.First().reader, true
}

// look visits the next reader of a round, or begins a round that is due. It returns false if there
// is nothing to do.
func (l *stalls[T]) look(now time.Time) bool {
	switch {
	case l.unseen > 0:
		l.unseen--
		l.lookAt(*l.unsuspected.At(l.unseen), now)
	case !l.round.IsZero() && !now.Before(l.round):
		l.round, l.unseen = time.Time{}, l.unsuspected.Len()
	default:
		return false
	}
	return true
}

// lookAt makes an unsuspected reader a suspect if something waits for it.
func (l *stalls[T]) lookAt(w *stallWatch[T], now time.Time) {
	s := w.reader
	if !s.hasUnreadLocked() {
		return
	}
	s.at.Set(flow.Slow) // from now on it takes under the lock
	if !s.hasUnreadLocked() {
		return // it has just taken everything
	}
	s.chat.recordStuckLocked(s, now)
	l.remove(w)
	l.suspects.Set(w, now.Add(w.timeout))
}

// next returns when there is something to do next. The zero time means not before something is
// published; whoever publishes then schedules a round.
func (l *stalls[T]) next() (at time.Time) {
	if l.suspects.Len() > 0 {
		at = l.suspects.First().Due()
	}
	return earliest(at, l.round)
}

// addUnsuspected adds a reader to those that are not suspects.
func (l *stalls[T]) addUnsuspected(w *stallWatch[T]) {
	w.index = l.unsuspected.Len()
	l.unsuspected.Push(w)
}

// remove removes a reader. The current round may visit another reader twice because of that, but
// skips none.
func (l *stalls[T]) remove(w *stallWatch[T]) {
	if !w.Due().IsZero() {
		l.suspects.Remove(w)
		return
	}
	if moved := l.unsuspected.Pop(); moved != w {
		*l.unsuspected.At(w.index), moved.index = moved, w.index
	}
	l.unseen = min(l.unseen, l.unsuspected.Len())
}

// earliest returns the earlier of two times. A zero time counts as never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
