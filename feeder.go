package broadcast

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast/internal/numbering"
	"github.com/fbd86cad/broadcast/internal/presence"
)

// A feeder is a [feed] as the engine's node sees it. It implements [cluster.Log] and
// [cluster.Presence]: but for InUse, its methods are called one at a time, and do not block. User code that may
// hang runs on goroutines of its own.
type feeder[T any] struct {
	*feed[T]
	broker *Broker[T]
}

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
	if !c.endedLocked() { // else the engine has begun the next chat of this name
		f.markLocked(c.numbers.Reset(c.log.Head(), epoch, seq))
	}
}

// markLocked follows each hole or reset that was set in the numbers; err is what that returned. An
// error means that the engine has broken its contract: it is logged, and the numbers are unchanged.
func (f feeder[T]) markLocked(err error) {
	f.growLocked()
	if err != nil {
		f.reportLocked("engine is inconsistent", err)
	}
}

// reportLocked logs an error, unless the logger has yet to return from the one before.
func (f feeder[T]) reportLocked(what string, err error) {
	c := f.chat
	if c.shared.config.logger == nil || f.reporting {
		return
	}
	f.feed.reporting = true
	c.shared.aside(func() {
		c.shared.logEvent(slog.LevelError, what, c.name, "", slog.Any("reason", err))
		c.gate.Lock()
		defer c.gate.Unlock()
		f.feed.reporting = false
	})
}

// Hole implements [cluster.Log].
func (f feeder[T]) Hole(n uint64) {
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	if !c.endedLocked() {
		f.markLocked(c.numbers.Hole(c.log.Head(), n))
	}
}

// End implements [cluster.Log]. It does what EndChat does without an engine. The chat is remembered
// until the name is free on all brokers, whatever its own idle time.
func (f feeder[T]) End(reason error, until time.Time) {
	c := f.chat
	ended, err := c.conclude(endError(reason), until.Add(-c.config.idle))
	if err != nil {
		return
	}
	c.shared.signalEnd(ended...)
	c.dropGraces()
	f.stopGrowing()
	if len(ended) > 0 {
		c.shared.aside(func() { c.shared.runEndHooks(ended...) })
	}
}

// Forgotten implements [cluster.Log].
func (f feeder[T]) Forgotten() { f.broker.forgottenByEngine(f.chat) }

// InUse implements [cluster.Log].
func (f feeder[T]) InUse() bool {
	f.chat.gate.Lock()
	defer f.chat.gate.Unlock()
	return f.chat.openCountLocked() > 0
}

// Ready implements [cluster.Log].
func (f feeder[T]) Ready() { close(f.ready) }

// Feed implements [cluster.Log]. It returns how many messages of the batch it has dealt with. The
// next one has no room: it waits on a goroutine of its own, as a publisher would, which then calls
// Room, and the node offers the message again.
func (f feeder[T]) Feed(batch [][]byte, made time.Time) (n int) {
	f.noteMade(made)
	for n < len(batch) && f.feedOne(batch[n]) {
		n++
	}
	f.chat.wakeReaders()
	return n
}

// noteMade notes when the next messages were published. The clocks of nodes may differ, but of two
// messages of a chat the later one is not older.
func (f feeder[T]) noteMade(made time.Time) {
	f.chat.gate.Lock()
	defer f.chat.gate.Unlock()
	if made.After(f.made) {
		f.feed.made = made
	}
}

// feedOne appends a message to the log, or a hole if it cannot be decoded. It reports false if the
// message has no room, and then awaitRoom appends it. A chat that refuses messages gets none.
func (f feeder[T]) feedOne(data []byte) bool {
	if f.takeAhead() {
		return true
	}
	msg, err := f.decode(data)
	f.chat.gate.Lock()
	fed, sample := f.feedLocked(&msg, err)
	f.chat.gate.Unlock()
	if sample {
		f.sample()
	}
	return fed
}

// feedLocked is feedOne for a message that was decoded, or could not be. It reports whether
// laggards need sampling too.
func (f feeder[T]) feedLocked(msg *T, err error) (fed, sample bool) {
	c := f.chat
	switch {
	case c.Refusal() != nil:
	case err != nil:
		f.markLocked(c.numbers.Hole(c.log.Head(), 1))
		f.reportLocked("message cannot be decoded", err)
	case !c.gate.Open(c.log.Head()):
		c.shared.background.Enter()
		go f.awaitRoom(msg)
		return false, false
	default:
		sample = f.appendLocked(msg)
	}
	return true, sample
}

// takeAhead reports whether awaitRoom has already appended the next message, and forgets it.
func (f feeder[T]) takeAhead() (ahead bool) {
	f.chat.gate.Lock()
	defer f.chat.gate.Unlock()
	ahead, f.ahead = f.ahead, false
	return ahead
}

// decode decodes a message with the codec of the broker. A panic of the codec is an error.
func (f feeder[T]) decode(data []byte) (msg T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f.chat.shared.codec.unmarshal(data)
}

// appendLocked appends a message for which there is room. It reports whether laggards need
// sampling. The caller wakes the readers.
func (f feeder[T]) appendLocked(msg *T) (sample bool) {
	f.growLocked()
	return f.chat.acceptLocked(msg)
}

// sample has laggards sampled: by the distributor, or aside if that calls samplers.
func (f feeder[T]) sample() {
	c := f.chat
	c.gate.Lock()
	head, l := c.log.Head(), c.lagging
	random, custom := l.random.Earliest() <= head, l.custom.Earliest() <= head
	c.gate.Unlock()
	if c.handOver(random) {
		c.shared.distributor.Do(c.sampleForDistributor)
	}
	if custom {
		c.shared.aside(func() { c.samplePiece(&l.custom, publisherPicks) })
	}
}

// awaitRoom waits for room as a publisher does, appends the message, and tells the node.
func (f feeder[T]) awaitRoom(msg *T) {
	c := f.chat
	a := &admission[T]{chat: c}
	if f.admit(a) {
		sample := f.appendLocked(msg)
		f.feed.ahead = true
		c.gate.Unlock()
		c.wakeReaders()
		a.Settle()
		if sample {
			f.sample()
		}
	}
	f.node.Room()
	c.shared.background.Leave()
	a.runEndHooks()
}

// admit waits until there is room for a message. Then it returns true, with the lock held. It
// returns false, without the lock, if the chat refuses messages or is forgotten.
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
		f.finish(s)
	}
}

// Kicked implements [cluster.Presence].
func (f feeder[T]) Kicked(device string, ticket uint64, reason string) {
	c := f.chat
	c.gate.Lock()
	var ended *Subscriber[T]
	if f.tickets[device] == ticket {
		ended, _ = c.kickLocked(device, kickReason(reason))
	}
	c.gate.Unlock()
	if ended != nil {
		f.finish(ended)
	}
}

// finish completes an end for which endLocked returned true.
func (f feeder[T]) finish(ended *Subscriber[T]) {
	sh := f.chat.shared
	sh.signalEnd(ended)
	sh.aside(func() { sh.runEndHooks(ended) })
}
