package broadcast

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// cleaner ends stalled readers and forgets idle chats. The broker's agenda runs it for the chats in
// which something is due.
//
// WithCleanInterval bounds how late it may be. A quarter of the interval serves to gather what
// becomes due at about the same time, and another quarter passes before readers are looked at, so
// that a stall that began right after a look is still ended in time. If much is due in a chat, the
// cleaner visits it several times, with pauses.
type cleaner[T any] struct {
	broker  *Broker[T]
	logging atomic.Bool // set by a run while it logs; a run that finds it set logs nothing
}

// run visits the chats that are due. The function that it returns may run user code.
func (cl *cleaner[T]) run(due []*chat[T]) (then func()) {
	var r cleanReport[T]
	for _, c := range due {
		cl.visit(c, &r)
	}
	cl.broker.signalEnd(r.stalled...)
	cl.broker.signalEnd(r.cut...)
	return func() {
		cl.broker.runEndHooks()
		cl.report(&r)
	}
}

// cleanReport is what one run did.
type cleanReport[T any] struct {
	stalled []*Subscriber[T]
	cut     []*Subscriber[T] // ended because their chat had, and its name was due to be free
	cleaned []*chat[T]
	ended   int // stalled readers of chats in which none is left to end
}

// visit does what is due in a chat, and schedules the next visit if there will be one.
func (cl *cleaner[T]) visit(c *chat[T], r *cleanReport[T]) {
	now := time.Now()
	c.gate.Lock()
	next, more := c.endStalledLocked(now, r)
	ended, idle := c.endedLocked() && !c.forgotten, c.idleUntilLocked()
	if ended && !now.Before(idle) {
		r.cut = append(r.cut, c.endEachLocked(c.cutLocked)...)
	}
	kept, expires := c.historyLocked(now)
	release, later := c.releaseDueLocked(now, kept)
	leaves := c.expireGracesLocked(now)
	empty := c.openCountLocked() == 0 && !c.forgotten
	c.wakeFollowersLocked(now)
	c.gate.Unlock()
	over := empty && (ended || !kept && leaves.IsZero()) && !now.Before(idle)
	if over && cl.broker.forget(c, c.rememberedLocked) == nil {
		cl.broker.totals.mu.Lock()
		cl.broker.totals.cleaned++
		cl.broker.totals.mu.Unlock()
		r.cleaned = append(r.cleaned, c)
		return
	}
	next = earliest(next, expires)
	if release {
		next = earliest(next, c.releaseTaken(now))
	} else {
		next = earliest(next, later)
	}
	switch {
	case over: // a reader or a publisher has just come: look again
		next = earliest(next, now)
	case empty && now.Before(idle):
		next = earliest(next, idle)
	}
	if !next.IsZero() {
		cl.broker.agenda.Schedule(c, next)
	}
	if more || leaves.Equal(now) { // pause for as long as this visit took
		cl.broker.agenda.ScheduleOnTime(c, time.Now().Add(time.Since(now)))
	}
	if ended && now.Before(idle) {
		cl.broker.agenda.ScheduleOnTime(c, idle)
	}
	if leaves.After(now) {
		cl.broker.agenda.ScheduleOnTime(c, leaves)
	}
}

// endStalledLocked ends readers that have stalled and looks at others, as many as may be handled in
// one hold of the lock. It reports whether there are more. If not, it returns when to go on; the
// zero time means that nothing waits for any reader.
func (c *chat[T]) endStalledLocked(now time.Time, r *cleanReport[T]) (next time.Time, more bool) {
	l := c.stalls
	if l == nil {
		return next, false
	}
	for range pieceSize {
		if s, ok := l.stalled(now); ok {
			c.endLocked(s, ErrStalled, true)
			c.ended.stalled++
			r.stalled = append(r.stalled, s)
			l.ended++
		} else if !l.look(now) {
			r.ended += l.ended
			l.ended = 0
			return l.next(), false
		}
	}
	return next, true
}

func (cl *cleaner[T]) report(r *cleanReport[T]) {
	b := cl.broker
	if b.config.logger == nil || len(r.stalled)+len(r.cut)+len(r.cleaned) == 0 {
		return
	}
	if !cl.logging.CompareAndSwap(false, true) {
		return
	}
	defer cl.logging.Store(false)
	for _, s := range r.stalled {
		b.logEvent(slog.LevelDebug, "subscription stalled", s.chat.name, s.device)
	}
	b.logEnded(r.stalled)
	b.logEnded(r.cut)
	for _, c := range r.cleaned {
		b.logEvent(slog.LevelDebug, "chat forgotten", c.name, "")
	}
	if r.ended > 0 {
		b.logEvent(slog.LevelWarn, "subscriptions stalled", "", "", slog.Int("readers", r.ended))
	}
}
