package broadcast

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/fbd86cad/broadcast/internal/background"
	"github.com/fbd86cad/broadcast/internal/chunks"
	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/numbering"
	"github.com/fbd86cad/broadcast/internal/parking"
	"github.com/fbd86cad/broadcast/internal/presence"
	"github.com/fbd86cad/broadcast/internal/seglog"
	"github.com/fbd86cad/broadcast/internal/smallmap"
)

// A chat is one topic: a log of messages and the readers that follow it.
//
// Lock order in this package: Broker.statsMu, registry, chat.gate. Below chat.gate, and never held
// together, are parking.Lot, parking.Distributor, background.Agenda, background.Tracker,
// until.Registry, and brokerTotals.mu. No lock is held while waiting, while waking many goroutines,
// or while user code runs.
type chat[T any] struct {
	// The fields that a publisher uses for every message come first: where there are many chats,
	// each cache line counts.

	shared *shared[T]
	config *chatConfig // never changes

	gate flow.Gate // guards all fields without another comment; admits publishers

	// closed is why the chat refuses messages: ErrBrokerClosed, or the error of EndChat. It is nil
	// while the chat accepts messages, and is set once. From then on readers end with it when they
	// have taken their last message.
	closed    error
	forgotten bool   // no longer in the registry: look it up again
	statsMark bool   // readers with this statsMark were counted by Stats, or joined since
	seen      uint32 // the last call of Stats that has reached this chat; see brokerTotals

	stalls   *stalls[T] // nil without readers that could stall
	sampleAt uint64     // the head at which publishers sample for the laggards, or flow.Never

	presence presence.State // guarded by gate; publishers call its Lot without

	log    seglog.Log[T] // appended to under gate; readers load the head without
	parked parking.Lot   // readers that wait for a message, but for those that follow presence

	name    string          // never changes
	numbers numbering.Table // of the messages in the log

	readers   smallmap.Map[string, *Subscriber[T]] // the open ones by device; nil during a leave grace
	anonymous *chunks.List[*Subscriber[T]]         // those without a device; nil if there are none
	history   history

	// releaseAt is when the cleaner is to release the messages that all readers have taken, as the
	// time since the broker began; 0 if that is not planned. triedAt is the head when it last
	// tried.
	releaseAt time.Duration
	triedAt   uint64

	feed *feed[T] // nil without an engine; set before anybody else knows the chat

	lagging *laggards[T] // nil if there never were any
	ended   books        // totals of the subscriptions that ended

	// countedTwice is what Stats, while it adds up this chat, has counted of open subscriptions and
	// then again in ended. nil at other times.
	countedTwice *books

	// idleSince is when the last reader left, or the chat ended, as the time since the broker
	// began. It is meaningless while there is a reader in a chat that has not ended.
	idleSince time.Duration

	background.Appointment // the cleaner's next visit, if any; guarded by the agenda
}

func newChat[T any](sh *shared[T], name string, config *chatConfig) *chat[T] {
	c := &chat[T]{
		shared:   sh,
		config:   config,
		name:     name,
		numbers:  numbering.Plain(max(rand.Uint64(), 1)), // a later chat of this name has another epoch
		log:      seglog.New[T](uint64(config.historySize)),
		gate:     flow.NewGate(),
		sampleAt: flow.Never,
		history:  newHistory(config),
	}
	return c
}

// errForgotten means that the chat was forgotten between its look-up and the lock.
var errForgotten = errors.New("chat was forgotten")

// Head returns the index of the last message. It is a method of [flow.Log].
func (c *chat[T]) Head() uint64 { return c.log.Head() }

// Refusal returns why the chat refuses messages, or nil. It is a method of [flow.Log]: the caller
// holds the lock.
func (c *chat[T]) Refusal() error {
	switch {
	case c.closed != nil: // also if the chat was forgotten since
		return c.closed
	case c.forgotten:
		return errForgotten
	}
	return nil
}

// Patience returns how long publishers wait for a full reader that has no patience of its own. It
// is a method of [flow.Log].
func (c *chat[T]) Patience() time.Duration { return c.config.subscription.patience }

// join adds a reader. It returns the subscriptions that this ended: the older one of the device,
// and the new one if the chat has ended and nothing is kept for it. The caller must call
// shared.signalEnd and shared.runEndHooks for them.
func (c *chat[T]) join(
	s *Subscriber[T], config *subscriptionConfig,
) (ended []*Subscriber[T], err error) {
	c.gate.Lock()
	defer c.gate.Unlock()
	limit := c.config.maxSubscribers
	switch {
	case c.forgotten:
		return nil, errForgotten
	case c.shared.state.Load() != stateOpen:
		return nil, ErrBrokerClosed
	case limit > 0 && c.openCountLocked() >= limit && c.readers.Get(s.device) == nil:
		return nil, limitError("subscribers in a chat", limit)
	case config.patience != c.Patience() && !c.gate.SetPatience(&s.at, config.patience):
		return nil, limitError("different patiences in a chat", flow.MaxPatiences)
	}
	c.startLocked(s, config)
	old := c.addLocked(s)
	c.feed.arriveLocked(s.device)
	s.unproven = old != nil && old.heldUpPublishersLocked()
	s.statsMark = c.statsMark
	c.shared.count(1)
	switch {
	case old != nil:
		c.endLocked(old, ErrReplaced, false)
		c.ended.replaced++
		ended = append(ended, old)
	case s.device != "":
		c.arrivedLocked(s.device)
	}
	if config.presence {
		s.follower = c.presence.Follow(s.at.Room())
	}
	if s.stall != nil {
		c.watchStallsLocked(s)
	}
	c.gate.Join(&s.at, !s.unproven)
	if c.closed != nil && c.dismissLocked(s) {
		ended = append(ended, s)
	}
	return ended, nil
}

// dismissLocked ends a reader that has joined a closed chat: when it has taken the messages kept
// for it or, if the idle time of the chat is over, at once. It reports whether the reader has
// ended.
func (c *chat[T]) dismissLocked(s *Subscriber[T]) bool {
	if time.Now().Before(c.idleUntilLocked()) {
		return c.drainLocked(s)
	}
	return c.cutLocked(s)
}

// position returns the position after the last message. A chat without readers is remembered for
// WithChatIdle from now on.
func (c *chat[T]) position() (Position, error) {
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.forgotten {
		return Position{}, errForgotten
	}
	if c.openCountLocked() == 0 {
		c.startIdleLocked()
	}
	return c.positionIn(c.numbers.Tail(), c.log.Head()), nil
}

// last returns the last message if the history keeps it.
func (c *chat[T]) last() (d Delivery[T], ok bool) {
	c.gate.Lock()
	defer c.gate.Unlock()
	head := c.log.Head()
	if c.keptLocked(time.Now()) == head {
		return d, false
	}
	message := *c.log.Find(head).At(head)
	numbers := c.numbers.At(head)
	return Delivery[T]{
		Chat: c.name, epoch: c.numbers.Epoch(numbers), Seq: numbers.Number(head), Message: message,
	}, true
}
