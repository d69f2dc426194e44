package broadcast

import (
	"context"
	"sync/atomic"

	"github.com/fbd86cad/broadcast/internal/parking"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// Delivery is one message as a subscription gets it. It also carries the identity of the chat's log, for Position: what came from a
// broker does not == a literal, but tests can compare the two with broadcasttest.Equal.
type Delivery[T any] struct {
	Chat    string
	Seq     uint64 // position in the chat's log, from 1
	Missed  uint64 // messages this subscription will not get, just before this one
	Kind    Kind   // with WithPresence also Joined, Left, Resync, which carry the Seq of the message that they follow
	Device  string // who joined or left
	Message T      // shared by all readers: what it points to is read-only

	epoch uint64 // of the log that Seq is a position in
}

// Position returns the position after this delivery: a subscription with [Resume] begins with what came next.
func (d Delivery[T]) Position() Position { return Position{d.epoch, d.Seq} }

// Subscriber is one device's subscription to one chat. [Broker.Subscribe] makes it; it lives until one of its ends.
//
// It is read by one goroutine at a time. Two at once may split or repeat messages, but harm nobody else; to share a
// subscription among goroutines use [Subscriber.Chan]. All other methods may be called from anywhere, at any time.
//
// What was buffered when the subscription ended stays readable after Broker.Close, Broker.Shutdown, ErrSlow and
// ErrStalled; it is gone after the subscriber's own Close, a takeover, the end of the context of [Until], and a failed sampler.
type Subscriber[T any] struct {
	// What a reader looks at for every message comes first: it fits one line of the processor's cache.

	chat *chat[T]

	// word is the position of the last message that is settled, taken or missed, and in its low bits the flags. The reader
	// advances it by compare-and-swap, and only while slow is not set; others, who hold the chat's lock, set and clear
	// flags by the same means. So whoever sets slow knows the position, and that the reader will come to its locks next.
	word atomic.Uint64

	// segment is where the reader stands in the log: not after the message behind its position, and nil while the reader is
	// off the list or ended, so that it holds nothing. The reader stores it before the word that belongs to it; others
	// set it to nil after setting slow, so that theirs is the last store.
	segment atomic.Pointer[seglog.Segment[T]]

	// end is nil while the subscription is open; stored once, under the chat's lock, after slow was set.
	end atomic.Pointer[ending[T]]

	// parking is where the reader waits, nil until it does for the first time: stored once, by the reading goroutine; loaded by those who end the
	// subscription, after they have done so, and by those who wake.
	parking atomic.Pointer[parking.Spot]

	follower *follower[T] // nil without WithPresence; set like joined

	// pump is the goroutine behind Chan, nil until that is called: stored once, under the chat's lock; loaded also without,
	// by a reader that finds the end and has to wait until that goroutine has settled what it sent.
	pump atomic.Pointer[pump[T]]

	// ahead is how many messages Messages has handed out and not yet reported in word. Only the reading goroutine has it.
	ahead uint8
	step  uint8 // how many messages Messages hands out before it reports them, at most

	// summoned counts the loops that wait although their context has ended: raised by that end, before it wakes, lowered by the loop. Whoever is
	// woken passes that on: it may have been meant for another goroutine that reads, by mistake.
	summoned atomic.Int32

	// busy says that the strategy is being applied to backlog, which takes place without the chat's lock: stored under that lock by
	// whoever applies it, who alone has backlog meanwhile; loaded also without, by a reader that is about to wait for it.
	busy atomic.Bool

	recovered bool // Resume or Replay was complete; set like joined

	buffer   uint64
	device   string
	joined   uint64 // the position that it began after; set under the chat's lock before the subscriber is handed out
	sampling Sampling
	sampler  func(Backlog[T], T) int // of ownSampler, else nil

	// Guarded by the chat's lock.
	replayed uint64          // the messages up to it are a replay and do not count against the buffer; moved on with those that are dropped
	gap      uint64          // the part of missed that the next delivery has to tell of
	backlog  *backlog[T]     // nil until first needed; while busy, of whoever set that
	due      bool            // a publisher has asked for the strategy to be applied, and nobody has begun to since
	failed   error           // why the sampler's answer ends the subscription; for exit
	drained  bool            // the last message during Shutdown was taken, the subscription is to be finished; for exit
	sampled  bool            // the strategy was applied, somebody may wait for that; for exit
	missed   uint64          // how many of the settled messages were missed
	index    int32           // where in the watchlist
	place    place           // in what part of it
	spent    bool            // used up its patience and has not been half empty since
	blocking bool            // a spent Block reader that the leading publisher waits for; counted in chat.awaiting
	overrun  bool            // messages were accepted that did not fit: sample before taking
	frozen   *seglog.View[T] // what it has of the log while publishers do not look at it any more
	stall    *stallWatch     // nil without a stall timeout
	done     chan struct{}   // nil until somebody asks
	stop     func() bool     // nil without Until
}

// The flags in Subscriber.word.
const (
	slow    = 1 << iota // something other than the log and the position matters: take under the locks
	awaited             // a publisher waits until the reader is half empty; counted in chat.awaiting

	flagBits = iota
	flags    = 1<<flagBits - 1
	one      = 1 << flagBits // one message further
)

// position returns the Seq of the last message that is settled.
func (s *Subscriber[T]) position() uint64 { return s.word.Load() >> flagBits }

// limit returns how far the head may run until the reader is full.
func (s *Subscriber[T]) limit() uint64 { return max(s.position(), s.replayed) + s.buffer }

// lost returns how many messages are lost to a reader when the head has run beyond its limit. With DropOldest these are all but
// the newest that fit, with the other strategies as many as do not fit.
func (s *Subscriber[T]) lost(head uint64) uint64 {
	over := excess(head, s.limit())
	if over > 0 && s.sampling == DropOldest {
		return head - s.position() - s.buffer
	}
	return over
}

// set sets flags.
func (s *Subscriber[T]) set(flag uint64) { s.word.Or(flag) }

// clear takes flags away and reports whether any was set.
func (s *Subscriber[T]) clear(flag uint64) bool { return s.word.And(^flag)&flag != 0 }

// moveTo settles the messages up to a position. slow is set, so that nobody else does.
func (s *Subscriber[T]) moveTo(position uint64) {
	for {
		w := s.word.Load()
		if s.word.CompareAndSwap(w, position<<flagBits|w&flags) {
			return
		}
	}
}

// valid reports whether the subscriber was made by Subscribe.
func (s *Subscriber[T]) valid() bool { return s != nil && s.chat != nil }

// Chat returns the name of the chat.
func (s *Subscriber[T]) Chat() string {
	if !s.valid() {
		return ""
	}
	return s.chat.name
}

// Device returns the device's key.
func (s *Subscriber[T]) Device() string {
	if !s.valid() {
		return ""
	}
	return s.device
}

// Next takes the next message; it waits while there is none. Once the subscription has ended and nothing is readable it returns the
// reason, always the same. Otherwise, if ctx is done, it returns ctx.Err() and a message that waits goes on waiting. A nil ctx
// is ErrInvalid.
func (s *Subscriber[T]) Next(ctx context.Context) (d Delivery[T], err error) {
	if err = s.checkRead(ctx); err == nil {
		err = s.next(ctx, &d)
	}
	return d, err
}

// TryNext takes the next message if one waits. It does not wait itself, unless for a sampler that is running. While
// [Subscriber.Err] is nil, false means that nothing is there now; after the end, that nothing is left.
func (s *Subscriber[T]) TryNext() (d Delivery[T], ok bool) {
	if !s.valid() {
		return d, false
	}
	s.report()
	ok, err := s.take(&d)
	for err == errBusy {
		if woken := s.park(); woken != nil {
			<-woken
		}
		s.passOn()
		ok, err = s.take(&d)
	}
	return d, ok
}

// NextBatch waits like [Subscriber.Next] until there is a message, then takes as many as are there and fit, and returns how
// many. All of them are taken: also those that the caller does not look at. An empty slice is ErrInvalid.
func (s *Subscriber[T]) NextBatch(ctx context.Context, into []Delivery[T]) (n int, err error) {
	if err = s.checkRead(ctx); err != nil {
		return 0, err
	}
	if len(into) == 0 {
		return 0, invalidf("no room for a batch")
	}
	if err = s.next(ctx, &into[0]); err != nil {
		return 0, err
	}
	return 1 + s.takeMore(into[1:]), nil
}

// Done returns a channel that is closed when the subscription has ended; see [Subscriber.Err] for the reason.
func (s *Subscriber[T]) Done() <-chan struct{} {
	if !s.valid() {
		return closedChannel()
	}
	c := s.chat
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.end.Load() != nil {
			close(s.done) // nobody else will: whoever ended it found none
		}
	}
	return s.done
}

// Err returns nil while the subscription is open and then the reason why it ended, always the same one.
func (s *Subscriber[T]) Err() error {
	if !s.valid() {
		return invalidf("subscriber was not made by Subscribe")
	}
	if e := s.end.Load(); e != nil {
		return e.reason
	}
	return nil
}

// Close ends the subscription with ErrClosed; what was buffered is gone, also what another end had left readable. It
// returns nil, any number of times, and leaves alone a subscription that has replaced this one. It may be called from
// inside a reading loop.
//
// After it nothing more is delivered. Only with a [WithSampler] of its own may [Subscriber.Chan] still hand over the message
// that it offers at that moment: Close does not wait for a sampler.
func (s *Subscriber[T]) Close() error {
	if !s.valid() {
		return nil
	}
	if !s.chat.end(s, ErrClosed, false) {
		<-s.Done() // if somebody else ends it at this moment
		s.chat.mu.Lock()
		s.chat.discardLocked(s)
		s.chat.mu.Unlock()
	}
	if p := s.pump.Load(); p != nil && s.sampler == nil {
		<-p.left // else it might send once more; it leaves at once, unless a sampler holds it up
	}
	return nil
}

// Stats returns the books of the subscription. They are exact whenever none of its calls is in flight; a loop over
// [Subscriber.Messages] is a call.
func (s *Subscriber[T]) Stats() SubscriberStats {
	if !s.valid() {
		return SubscriberStats{}
	}
	s.chat.mu.Lock()
	defer s.chat.mu.Unlock()
	return s.statsLocked()
}

// checkRead refuses what cannot be read or waited with.
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

// next takes the next message or waits for it.
func (s *Subscriber[T]) next(ctx context.Context, d *Delivery[T]) error {
	for {
		if ok, err := s.poll(ctx, d); ok || err != nil {
			return err
		}
		done := ctx.Done() // code of the user
		switch woken := s.park(); {
		case woken == nil:
		case done == nil:
			<-woken
		default:
			awaitEither(woken, done)
		}
		s.passOn()
	}
}

// awaitEither waits for one of two channels.
func awaitEither(a, b <-chan struct{}) {
	select {
	case <-a:
	case <-b:
	}
}

// poll takes the next message if there is one. If the reader is to wait instead, ok is false and err is nil.
func (s *Subscriber[T]) poll(ctx context.Context, d *Delivery[T]) (ok bool, err error) {
	if err := ctx.Err(); err != nil {
		if reason := s.nothingLeft(); reason != nil {
			return false, reason
		}
		s.giveUpPlace()
		return false, err
	}
	ok, err = s.take(d)
	if !ok {
		*d = Delivery[T]{} // a reader that waits holds nothing
	}
	if err == errBusy {
		err = nil
	}
	return ok, err
}

// nothingLeft returns the reason of the end if nothing is readable after it, else nil.
func (s *Subscriber[T]) nothingLeft() error {
	e := s.end.Load()
	if e == nil || !e.gone.Load() && s.position() != e.head {
		return nil
	}
	return e.reason
}

// closedChannel returns a channel that is closed.
func closedChannel() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}
