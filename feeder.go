package broadcast

import (
	"fmt"
	"log/slog"

	"github.com/fbd86cad/broadcast/internal/numbering"
	"github.com/fbd86cad/broadcast/internal/presence"
)

// A feeder is a [feed] as the engine's node sees it. It implements [cluster.Log] and
// [cluster.Presence]: its methods are called one at a time, and do not block. User code that may
// hang runs on goroutines of its own.
type feeder[T any] struct{ *feed[T] }

// Reset implements [cluster.Log].
func (f feeder[T]) Reset(epoch, seq uint64) {
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	if !f.begun {
		f.begun = true
		c.numbers = numbering.Marked(epoch, seq)
		return
	}
	f.markLocked(c.numbers.Reset(c.log.Head(), epoch, seq))
}

// markLocked notes a mark. The node numbers what the engine has; a mark that the numbers do not allow
// means that the engine has broken its contract.
func (f feeder[T]) markLocked(err error) {
	f.growLocked()
	if err != nil {
		f.chat.shared.aside(func() {
			f.chat.shared.logEvent(slog.LevelError, "engine is inconsistent", f.chat.name, "",
				slog.Any("reason", err))
		})
	}
}

// Hole implements [cluster.Log].
func (f feeder[T]) Hole(n uint64) {
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	f.markLocked(c.numbers.Hole(c.log.Head(), n))
}

// Ready implements [cluster.Log].
func (f feeder[T]) Ready() { close(f.ready) }

// Feed implements [cluster.Log]. A message for which there is no room waits on a goroutine of its
// own, as a publisher would.
func (f feeder[T]) Feed(batch [][]byte) (n int) {
	for n < len(batch) && f.feedOne(batch[n]) {
		n++
	}
	f.chat.wakeReaders()
	return n
}

// feedOne reports whether a message has its place in the log, or needs none.
func (f feeder[T]) feedOne(data []byte) bool {
	if f.takeAhead() {
		return true
	}
	msg, err := f.decode(data)
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	switch {
	case c.Refusal() != nil:
	case err != nil:
		f.markLocked(c.numbers.Hole(c.log.Head(), 1))
		c.shared.aside(func() {
			c.shared.logEvent(slog.LevelError, "message cannot be decoded", c.name, "",
				slog.Any("reason", err))
		})
	case !c.gate.Open(c.log.Head()):
		c.shared.background.Enter()
		go f.awaitRoom(&msg)
		return false
	default:
		f.appendLocked(&msg)
	}
	return true
}

// takeAhead reports whether the log has the next message already.
func (f feeder[T]) takeAhead() (ahead bool) {
	f.chat.gate.Lock()
	defer f.chat.gate.Unlock()
	ahead, f.ahead = f.ahead, false
	return ahead
}

// decode decodes a message with the codec of the broker.
func (f feeder[T]) decode(data []byte) (msg T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f.chat.shared.codec.unmarshal(data)
}

// appendLocked appends a message for which there is room.
func (f feeder[T]) appendLocked(msg *T) {
	c := f.chat
	if c.acceptLocked(msg) {
		c.shared.aside(c.sampleForOthers)
	}
	f.growLocked()
}

// awaitRoom appends a message when there is room. While it waits it is a publisher like others.
func (f feeder[T]) awaitRoom(msg *T) {
	c := f.chat
	a := &admission[T]{chat: c}
	if f.admit(a) {
		f.appendLocked(msg)
		f.feed.ahead = true
		c.gate.Unlock()
		c.wakeReaders()
		a.Settle()
	}
	f.node.Room()
	c.shared.background.Leave()
	a.runEndHooks()
}

// admit waits until the next message may be accepted, and returns with the lock held, or until the
// chat refuses messages or is forgotten.
func (f feeder[T]) admit(a *admission[T]) bool {
	a.gate.Lock()
	if a.Refusal() != nil {
		a.gate.Unlock()
		return false
	}
	if err := a.gate.Admit(f.left, a, 0); err != nil {
		a.settleWaits()
		return false
	}
	return true
}

// Here implements [cluster.Presence].
func (f feeder[T]) Here(device string) {
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.closed != nil || f.hasLocked(device) {
		return
	}
	f.elsewhere[device] = struct{}{}
	if c.readers.Get(device) != nil {
		return
	}
	c.readers.Set(device, nil)
	f.away++
	if !c.presence.Return(device) {
		c.addEventLocked(presence.Joined, device)
	}
}

// Gone implements [cluster.Presence].
func (f feeder[T]) Gone(device string) {
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.closed != nil || !f.hasLocked(device) {
		return
	}
	delete(f.elsewhere, device)
	if c.readers.Get(device) == nil {
		f.away--
		c.departedLocked(device)
	}
}

// Replaced implements [cluster.Presence].
func (f feeder[T]) Replaced(device string, ticket uint64) {
	c := f.chat
	c.gate.Lock()
	s := c.readers.Get(device)
	ended := s != nil && f.tickets[device] == ticket && c.endLocked(s, ErrReplaced, false)
	if ended {
		c.ended.replaced++
	}
	c.gate.Unlock()
	if ended {
		c.shared.signalEnd(s)
		c.shared.aside(func() { c.shared.runEndHooks(s) })
	}
}
