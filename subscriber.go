package broadcast

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/numbering"
	"github.com/fbd86cad/broadcast/internal/presence"
	"github.com/fbd86cad/broadcast/internal/seglog"
	"github.com/fbd86cad/broadcast/internal/until"
)

// A Delivery is a message, or a presence event, as a subscription receives it. It also carries the
// identity of the chat's log, for Position: a Delivery that came from a broker is therefore never
// == to a literal. Tests can compare the two with broadcasttest.Equal.
type Delivery[T any] struct {
	Chat   string
	Seq    uint64 // number of the message in its chat, from 1; of an event: of the message before it
	Missed uint64 // number of messages just before this one that the subscription lost

	// Reset says that the numbers began anew just before this message: the engine has lost its
	// memory, and with it an unknown number of messages besides Missed; or this is the next chat of
	// the name, because a reader subscribed while a broker called [Broker.Forget], or its broker
	// missed the end of the chat. Without an engine it is false.
	Reset bool

	Kind   Kind   // Published; with WithPresence also Joined, Left, or Resync
	Device string // the device that joined or left; empty for messages

	Message T // shared by all readers: treat what it points to as read-only

	epoch uint64 // identifies the log that Seq counts in
}

// Position returns the position just after this delivery. A subscription made with [Resume] at that
// position begins with what comes next.
func (d Delivery[T]) Position() Position { return Position{d.epoch, d.Seq} }

// A Subscriber is the subscription of one device, or of an anonymous reader, to one chat.
// [Broker.Subscribe] and [Broker.SubscribeAnonymous] make it. The zero value is not usable: its
// methods return [ErrInvalid] or a zero result.
//
// One goroutine at a time may read it, with Next, TryNext, NextBatch, TryNextBatch, All, or
// Messages. If two do so by mistake, messages may be split between them or repeated, and one of
// them may notice the end of its context only with the next message; no other reader is affected.
// To share a subscription among goroutines, use [Subscriber.Chan]. Only the goroutine that reads
// may call Position. All other methods are safe for concurrent use.
//
// When the subscription ends through Broker.Close, Broker.Shutdown, [ErrSlow] or [ErrStalled], what
// was buffered stays readable. When it ends through its own Close, [Broker.Kick], a takeover, the
// context given to [Until], or a failed sampler, what was buffered is discarded.
type Subscriber[T any] struct {
	// The fields that a reader uses for every message come first: they fit in one cache line.

	chat *chat[T]

	at flow.Cursor // its position in the log and its state

	// segment is a segment of the log at or before the one that holds the next message. It is nil
	// while the reader is off the list, and after the end, so that the reader pins no memory. The
	// reader stores it before it advances the cursor; others store nil after they have set
	// flow.Slow, so that theirs is the last store.
	segment atomic.Pointer[seglog.Segment[T]]

	// end is nil while the subscription is open. It is stored once, under the chat's lock, after
	// flow.Slow was set.
	end atomic.Pointer[ending[T]]

	follower *presence.Follower // nil without WithPresence; set before Subscribe returns

	// pump is the goroutine behind Chan, nil until Chan is called. It is stored once, under the
	// chat's lock. A reader that finds the end loads it without the lock, to wait until that
	// goroutine has settled what it sent.
	pump atomic.Pointer[pump[T]]

	// numbers is the span of the message taken last, or in which the subscription began. It is stored
	// under the chat's lock; the reader loads it without. Others store it only after the end.
	numbers atomic.Pointer[numbering.Span]

	// ahead is how many messages Messages has yielded and not yet reported in the cursor. Only the
	// reading goroutine uses it.
	ahead uint8
	step  uint8 // how many messages Messages yields before it reports them, at most

	recovered bool // Resume or Replay was complete; set before Subscribe returns
	sampling  Sampling

	// busy is set while the strategy is being applied, which happens without the chat's lock. The
	// goroutine that applies it stores busy under the lock, and owns lag.queue meanwhile. A reader
	// that is about to wait for it loads busy without the lock.
	busy atomic.Bool

	device  string                  // empty if it is anonymous
	sampler func(Backlog[T], T) int // with customSampler, else nil

	// Guarded by the chat's lock.
	joined     uint64                        // the index where it began, minus what it lost in holes
	gap        uint64                        // the part of missed that the next delivery reports
	lag        *lag[T]                       // its backlog; nil while it keeps up
	unproven   bool                          // joined without patience, and has not read yet
	statsMark  bool                          // see chat.statsMark
	givenUp    bool                          // publishers gave up waiting for it; see visit.returned
	renumbered bool                          // has passed a reset
	index      int32                         // in chat.anonymous, if it is there
	since      time.Duration                 // see chat.recordStuckLocked
	missed     uint64                        // how many messages up to its position it missed
	stall      *stallWatch[T]                // nil without a stall timeout
	done       chan struct{}                 // nil until Done is called
	until      *until.Member[*Subscriber[T]] // nil without Until, and after the end
}

// Chat returns the name of the chat.
func (s *Subscriber[T]) Chat() string {
	if !s.valid() {
		return ""
	}
	return s.chat.name
}

// Device returns the name of the device. It is empty for an anonymous subscription; see
// [Broker.SubscribeAnonymous].
func (s *Subscriber[T]) Device() string {
	if !s.valid() {
		return ""
	}
	return s.device
}

// Next takes the next message. It blocks while there is none, until ctx is done or the subscription
// ends. Once the subscription has ended and nothing is left to read, Next returns the reason, the
// same each time. Otherwise, if ctx is done, it returns ctx.Err() and takes nothing. A nil ctx is
// an [ErrInvalid].
func (s *Subscriber[T]) Next(ctx context.Context) (d Delivery[T], err error) {
	if err = s.checkRead(ctx); err == nil {
		err = s.next(ctx, &d)
	}
	return d, err
}

// TryNext takes the next message if there is one. It does not block, except while a sampler of the
// subscription is running. If it returns false while [Subscriber.Err] is nil, there is no message
// now; after the end, there is none left.
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
		s.wakeNextReader()
		ok, err = s.take(&d)
	}
	return d, ok
}

// NextBatch blocks like [Subscriber.Next] until there is a message. It then takes as many messages
// as are available and fit, and returns their number. All of them count as taken, whether the
// caller looks at them or not. Its errors are those of Next; an empty slice is an [ErrInvalid].
func (s *Subscriber[T]) NextBatch(ctx context.Context, into []Delivery[T]) (n int, err error) {
	if err = s.checkRead(ctx); err != nil {
		return 0, err
	}
	if len(into) == 0 {
		return 0, invalidf("empty slice for a batch")
	}
	if err = s.next(ctx, &into[0]); err != nil {
		return 0, err
	}
	return 1 + s.takeMore(into[1:]), nil
}

// TryNextBatch takes as many messages as are available and fit, and returns their number. All of
// them count as taken, whether the caller looks at them or not. It blocks only where
// [Subscriber.TryNext] does. It returns 0 if into is empty, if there is no message now, or, after
// the end, if none is left.
func (s *Subscriber[T]) TryNextBatch(into []Delivery[T]) (n int) {
	if !s.valid() || len(into) == 0 {
		return 0
	}
	s.report()
	if n = s.takeRun(into); n == 0 {
		d, ok := s.TryNext() // which waits for a sampler
		if !ok {
			return 0
		}
		into[0], n = d, 1
	}
	return n + s.takeMore(into[n:])
}

// Done returns a channel that is closed when the subscription has ended. [Subscriber.Err] then
// returns the reason.
func (s *Subscriber[T]) Done() <-chan struct{} {
	if !s.valid() {
		return closedChannel()
	}
	c := s.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.end.Load() != nil {
			close(s.done) // nobody else will: the end found no channel
		}
	}
	return s.done
}

// Err returns nil while the subscription is open. After the end it returns the reason, the same
// each time.
func (s *Subscriber[T]) Err() error {
	if !s.valid() {
		return invalidf("subscriber was not made by Subscribe")
	}
	if e := s.end.Load(); e != nil {
		return e.reason
	}
	return nil
}

// Close ends the subscription with [ErrClosed] and discards what was buffered, including what an
// earlier end had left readable. It returns nil and may be called any number of times, also from
// inside a loop that reads. It does not affect a subscription that has replaced this one.
//
// After Close returns, nothing more is delivered, with one exception: with [WithSampler],
// [Subscriber.Chan] may still deliver the message that it is offering, because Close does not wait
// for a sampler.
func (s *Subscriber[T]) Close() error {
	if !s.valid() {
		return nil
	}
	if !s.chat.end(s, ErrClosed, false) {
		<-s.Done() // another goroutine may be ending it
		s.chat.gate.Lock()
		s.chat.discardLocked(s)
		s.chat.gate.Unlock()
	}
	if p := s.pump.Load(); p != nil && s.sampler == nil {
		<-p.settled // else it might send once more; this takes no time unless a sampler runs
	}
	return nil
}

// Position returns the position just after the message that was taken last, or where the
// subscription began if none was. Only the reading goroutine may call it; other goroutines can use
// [Delivery.Position].
func (s *Subscriber[T]) Position() Position {
	if !s.valid() {
		return Position{}
	}
	s.report()
	c := s.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	return c.positionIn(s.numbers.Load(), s.lastLocked())
}

// Recovered reports whether the subscription began where [Resume] or [Replay] asked, with no
// message missing. It is false without either option, and if the position belongs to another log or
// has not been reached yet.
func (s *Subscriber[T]) Recovered() bool { return s.valid() && s.recovered }

// Stats returns the counters of the subscription. They are exact whenever no call of its methods is
// in progress; a loop over [Subscriber.Messages] counts as a call.
func (s *Subscriber[T]) Stats() SubscriberStats {
	if !s.valid() {
		return SubscriberStats{}
	}
	s.chat.gate.Lock()
	defer s.chat.gate.Unlock()
	return s.statsLocked()
}

// next takes the next message, waiting for it if necessary.
func (s *Subscriber[T]) next(ctx context.Context, d *Delivery[T]) error {
	for {
		if ok, err := s.poll(ctx, d); ok || err != nil {
			return err
		}
		done := ctx.Done() // user code
		switch woken := s.park(); {
		case woken == nil:
		case done == nil:
			<-woken
		default:
			awaitEither(woken, done)
		}
		s.wakeNextReader()
	}
}

// closedChannel returns a closed channel.
func closedChannel() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}
