package broadcast

import (
	"fmt"
	"time"

	"github.com/fbd86cad/broadcast/internal/flow"
)

// TakeBatchInTwoSteps takes a batch, and calls between when it has copied the messages.
func TakeBatchInTwoSteps[T any](s *Subscriber[T], into []Delivery[T], between func()) (n int) {
	w, head, n := s.copyRun(into)
	between()
	return s.settleRun(w, head, into[:n])
}

// EndInTwoSteps ends a subscription as far as its chat knows. Those who wait for the end are told
// when signal is called.
func EndInTwoSteps[T any](s *Subscriber[T]) (signal func()) {
	s.chat.gate.Lock()
	defer s.chat.gate.Unlock()
	s.chat.endLocked(s, ErrClosed, true)
	return func() { s.chat.shared.signalEnd(s) }
}

// Leftovers names what a broker holds beyond its open subscriptions: waiting readers and
// publishers, marks, lists that should be empty when nothing is going on. Tests look at it when all
// is quiet and readers have taken everything.
func Leftovers[T any](b *Broker[T]) (left []string) {
	check := func(name, what string, n int) {
		if n != 0 {
			left = append(left, fmt.Sprintf("%s: %d %s", name, n, what))
		}
	}
	check("distributor", "queued", b.distributor.Len())
	chats := 0
	for name, c := range b.chats.All() {
		chats++
		c.gate.Lock()
		for _, what := range c.gate.Leftovers(c.openCountLocked()) {
			check(name, what, 1)
		}
		check(name, "messages held for readers off the list", int(c.log.Held()))
		if l := c.lagging; l != nil {
			check(name, "readers that lag", l.random.Len()+l.custom.Len())
		}
		for _, what := range c.presence.Leftovers() {
			check(name, what, 1)
		}
		check(name, "places where none of the readers waits", max(0, c.parked.Taken()-c.openCountLocked()))
		for _, s := range c.readers.All() {
			if s == nil {
				continue // its device may come back
			}
			if s.at.Load().Slow() || s.at.Load().Awaited() || s.at.State() != flow.Following || s.segment.Load() == nil || s.lag != nil {
				check(name+"/"+s.device, "signs of having been slow", 1)
			}
		}
		c.gate.Unlock()
	}
	b.chats.Lock()
	check("registry", "more or fewer chats than it lists", b.chats.LenLocked()-chats)
	b.chats.Unlock()
	if b.state.Load() == stateClosed {
		check("registry", "chats", chats)
		check("agenda", "chats due", b.agenda.Len())
		check("background", "goroutines", b.background.Len())
	}
	return left
}

// Yielding calls f. Between two pieces of what f and others do with many readers of a chat, it
// calls look, with the number of subscriptions that are open and of devices that may come back.
func Yielding[T any](b *Broker[T], chat string, look func(open, absent int), f func()) {
	c, _ := b.chats.Load(chat)
	before := yield
	defer func() { yield = before }()
	yield = func() {
		c.gate.Lock()
		open, absent := c.openCountLocked(), c.presence.Absent()
		c.gate.Unlock()
		look(open, absent)
	}
	f()
}

// Suspects returns how many readers of a chat the cleaner suspects to stall.
func Suspects[T any](b *Broker[T], chat string) int {
	c, _ := b.chats.Load(chat)
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.stalls == nil {
		return 0
	}
	return c.stalls.suspects.Len()
}

// EndStalled does what the cleaner does in one hold of a chat's lock if it comes d later, and
// reports whether there is more to do then.
func EndStalled[T any](b *Broker[T], chat string, d time.Duration) (more bool) {
	c, _ := b.chats.Load(chat)
	var r cleanReport[T]
	c.gate.Lock()
	_, more = c.endStalledLocked(time.Now().Add(d), &r)
	c.gate.Unlock()
	b.finish(r.stalled...)
	return more
}

// Leave does what the cleaner does for devices whose grace is over in one hold of a chat's lock if
// it comes d later, and reports whether there are more.
func Leave[T any](b *Broker[T], chat string, d time.Duration) (more bool) {
	c, _ := b.chats.Load(chat)
	c.gate.Lock()
	defer c.gate.Unlock()
	return !c.expireGracesLocked(time.Now().Add(d)).IsZero()
}

// Due returns how many chats the cleaner is to visit.
func Due[T any](b *Broker[T]) int {
	return b.agenda.Len()
}

// StopDistributor lets the workers of a broker do nothing any more.
func StopDistributor[T any](b *Broker[T]) { b.distributor.Stop() }

// Picks returns how often a message was dropped by a pick for an open reader of a chat.
func Picks[T any](b *Broker[T], chat string) (n int) {
	c, _ := b.chats.Load(chat)
	c.gate.Lock()
	defer c.gate.Unlock()
	for _, s := range c.readers.All() {
		if l := s.lag; l.picked() {
			n += int(l.applied) - int(s.joined) - l.queue.Len()
		}
	}
	return n
}

// LongestLag returns how many messages have yet to be sampled for the reader that lags most.
func LongestLag[T any](b *Broker[T], chat string) (n uint64) {
	c, _ := b.chats.Load(chat)
	c.gate.Lock()
	defer c.gate.Unlock()
	for _, s := range c.readers.All() {
		n = max(n, excess(c.log.Head(), max(s.at.Limit(), s.reachedLocked())))
	}
	return n
}

// HidingFull calls f while the full readers of a chat, but the last n of each kind, are hidden:
// whoever looks at one of these panics. Nobody may become full, or make room, meanwhile.
func HidingFull[T any](b *Broker[T], chat string, n int, f func()) {
	c, _ := b.chats.Load(chat)
	c.gate.HidingFull(n, f)
}

// Deafening calls f while publisher i of those that wait in a chat does not hear that it is woken,
// and reports whether it was.
func Deafening[T any](b *Broker[T], chat string, i int, f func()) (woken bool) {
	c, _ := b.chats.Load(chat)
	return c.gate.Deafening(i, f)
}

// ReleaseTaken does what the cleaner does in a chat where everything may have been taken.
func ReleaseTaken[T any](b *Broker[T], chat string) {
	c, _ := b.chats.Load(chat)
	c.releaseTaken(time.Now())
}

// SettlesLikeChan returns what the goroutine behind Chan, which LooksLikeChan has put in place,
// would do with what was received.
func SettlesLikeChan[T any](s *Subscriber[T]) (settle func(Delivery[T]) bool) {
	p := s.pump.Load()
	return func(d Delivery[T]) bool { return p.settleReceived(d.Kind, d.Seq) }
}

// LooksLikeChan puts a goroutine behind Chan in place that does nothing. It returns what that would
// do to look at what to offer, and whether it was woken since it was last asked.
func LooksLikeChan[T any](s *Subscriber[T]) (look func() (Delivery[T], bool), woken func() bool) {
	p := &pump[T]{s: s, settled: make(chan struct{})}
	close(p.settled)
	s.pump.Store(p)
	look = func() (d Delivery[T], ok bool) {
		d, _, ok = p.peek()
		return d, ok
	}
	return look, func() bool {
		select {
		case <-s.spot().Woken():
			return true
		default:
			return false
		}
	}
}

// SampleMeanwhile applies the strategy of a reader, which must be overrun, and calls f while it is
// at it, with the chat's lock free.
func SampleMeanwhile[T any](s *Subscriber[T], f func()) {
	v, ok := s.enter()
	if !ok {
		panic("the strategy is being applied")
	}
	defer v.exit()
	p := s.nextPieceLocked(workerPicks)
	s.busy.Store(true)
	s.chat.gate.Unlock()
	f()
	s.apply(p, &v.failure)
	s.chat.gate.Lock()
	s.busy.Store(false)
	v.applied = true
	s.appliedLocked(p.to)
}

// ActEarly applies the strategy of a full reader, as a publisher does that has many of them to
// visit before its message is accepted.
func ActEarly[T any](s *Subscriber[T]) {
	s.chat.gate.Lock()
	defer s.chat.gate.Unlock()
	s.at.Set(flow.Slow) // it is out of patience
	(&admission[T]{chat: s.chat}).Act(&s.at)
}

// WorksLikeChan puts a goroutine behind Chan in place that is at work until leave is called.
func WorksLikeChan[T any](s *Subscriber[T]) (leave func()) {
	p := &pump[T]{s: s, settled: make(chan struct{})}
	s.pump.Store(p)
	return func() { close(p.settled) }
}

// KeepPlace returns a function that stores the place in the log that a reader has now, as one does
// that has just loaded it when somebody takes it away.
func KeepPlace[T any](s *Subscriber[T]) (store func()) {
	segment := s.segment.Load()
	return func() { s.segment.Store(segment) }
}

// HasPlace reports whether a reader keeps a part of the log alive by itself.
func HasPlace[T any](s *Subscriber[T]) bool { return s.segment.Load() != nil }

// BeginToWait does what a reader does when it is about to wait for the first time.
func BeginToWait[T any](s *Subscriber[T]) { s.spot() }

// Forget does what the cleaner does with a chat that it has found idle.
func Forget[T any](b *Broker[T], chat string) bool {
	c, _ := b.chats.Load(chat)
	return b.forget(c, c.rememberedLocked) == nil
}

// Found is a chat that somebody has looked up, and has not locked yet.
type Found[T any] struct {
	chat *chat[T]
}

// LookUp looks a chat up.
func LookUp[T any](b *Broker[T], name string) Found[T] {
	c, _ := b.chats.Load(name)
	return Found[T]{c}
}

// Absent returns how many devices may come back to the chat.
func (f Found[T]) Absent() int {
	f.chat.gate.Lock()
	defer f.chat.gate.Unlock()
	return f.chat.presence.Absent()
}

// Admits reports whether a device may join the chat now, and lets it.
func (f Found[T]) Admits(device string) bool {
	config := f.chat.config.subscription
	s := newSubscriber[T](device, config)
	s.chat = f.chat
	_, err := f.chat.join(s, &config)
	return err == nil
}

// Counts reports whether the chat has counters.
func (f Found[T]) Counts() bool {
	_, ok := f.chat.stats()
	return ok
}

// Fed is a chat that a test feeds by hand, as the engine's node does.
type Fed[T any] struct{ feeder[T] }

// FeedByHand returns a chat to feed, which is created if necessary. The engine of the broker must
// be away.
func FeedByHand[T any](b *Broker[T], name string) Fed[T] {
	c, err := b.chatOf(name)
	if err != nil {
		panic(err)
	}
	return Fed[T]{feeder[T]{c.feed, b}}
}

// Ahead reports whether the chat has the message that it has to be offered next.
func (f Fed[T]) Ahead() bool {
	f.chat.gate.Lock()
	defer f.chat.gate.Unlock()
	return f.ahead
}
