package broadcast

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fbd86cad/broadcast/internal/registry"
)

// Broker fans messages out to the subscribers of chats. Make one with [New] and end it with [Broker.Close] or
// [Broker.Shutdown]. All its methods may be called from anywhere, at any time, also from inside a loop that reads one of
// its subscriptions.
type Broker[T any] struct {
	config      brokerConfig
	chats       *registry.Map[*chat[T]]
	distributor distributor
	cleaner     cleaner[T]
	background  tracker // the goroutines that come and go: cleaner runs, ends by Until, Chan

	state   atomic.Int32 // lifecycle: only grows; stored under the registry's lock, loaded by all calls before anything else
	open    atomic.Int64 // open subscriptions
	refused sync.Once    // beginning to refuse
	emptied sync.Once    // closing drained
	drained chan struct{}
	ended   chan struct{} // closed when all is torn down

	// census is held while Stats adds up and while a chat leaves the registry, so that none is counted twice, or not at
	// all. It comes before the registry in the lock order.
	census sync.Mutex
	past   ledger
}

// The states of a broker.
const (
	stateOpen     = iota
	stateRefusing // Shutdown has begun
	stateDraining // all chats know; when no subscription is open, it is over
	stateClosed
)

// New returns an open broker. It starts a few goroutines, which [Broker.Close] and [Broker.Shutdown] end. The error lists every bad
// option and is an [ErrInvalid]; nothing was started then.
func New[T any](opts ...Option) (*Broker[T], error) {
	config, err := brokerConfigOf[T](opts)
	if err != nil {
		return nil, err
	}
	b := &Broker[T]{
		config:  config,
		chats:   registry.New[*chat[T]](),
		drained: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	b.cleaner.init(b)
	b.distributor.start()
	return b, nil
}

func (b *Broker[T]) valid() bool { return b != nil && b.chats != nil }

var errZeroBroker = invalidf("broker was not made by New")

// Publish hands msg to every subscriber of a chat. It returns nil exactly when the message was accepted: then it has its
// place in the chat's order, and Publish need not wait for any reader to take it. After an error nobody will ever get it.
//
// It waits only for room: a moment for readers whose buffer is full (see [WithPatience]), and for [Block] readers until
// [WithPublishTimeout], which is [ErrOverloaded], or the end of ctx, which is ctx.Err(). Publishers of a chat that wait are
// served in order. Before anything else, in this order, a bad argument is [ErrInvalid], a broker closed or shutting down
// [ErrClosed], and a ctx that is done its error. A chat that nobody has subscribed is no error.
func (b *Broker[T]) Publish(ctx context.Context, chat string, msg T) error {
	if !b.valid() {
		return errZeroBroker
	}
	if ctx == nil {
		return b.reject(invalidf("nil context"))
	}
	return b.publish(ctx, chat, &msg)
}

// TryPublish is Publish without waiting: where Publish would wait, it returns [ErrOverloaded].
func (b *Broker[T]) TryPublish(chat string, msg T) error {
	if !b.valid() {
		return errZeroBroker
	}
	return b.publish(noWait, chat, &msg)
}

// noWait is the context of a publisher that does not wait: none.
var noWait context.Context

// publish is Publish, or with noWait TryPublish.
func (b *Broker[T]) publish(ctx context.Context, name string, msg *T) error {
	for {
		c, ok := b.chats.Load(name)
		if !ok { // a name that is in the registry has been checked
			if err := checkName("chat", name); err != nil {
				return b.reject(err)
			}
		}
		if b.state.Load() != stateOpen {
			return b.reject(ErrClosed)
		}
		if ctx != noWait {
			if err := ctx.Err(); err != nil {
				return b.reject(err)
			}
		}
		if !ok && b.config.historySize == 0 {
			b.past.nowhere.add()
			return nil
		}
		if !ok {
			var err error
			if c, err = b.chatOf(name); err != nil {
				return b.reject(err)
			}
		}
		switch err := c.publish(ctx, msg); err {
		case nil:
			return nil
		case errDead:
			continue
		default:
			if ctx != noWait && err == ErrOverloaded {
				b.log(slog.LevelDebug, "publisher timed out", name, "")
			}
			return b.reject(err)
		}
	}
}

// reject counts an error of Publish or TryPublish.
func (b *Broker[T]) reject(err error) error {
	b.past.rejected.Add(1)
	return err
}

// Subscribe makes device a subscriber of chat: it gets every message accepted after Subscribe has returned, within the rules of its
// strategy. The options are on top of those of [New]. If the device is subscribed to the chat already, the new subscription takes
// over and the old one ends with [ErrReplaced].
//
// It does not wait. Names are UTF-8 of 1 to 256 bytes. Errors: [ErrInvalid] for a bad name or option, with all of them listed;
// [ErrClosed]; [ErrLimit]; the error of a context given to [Until] that is done.
func (b *Broker[T]) Subscribe(chat, device string, opts ...SubscribeOption) (*Subscriber[T], error) {
	if !b.valid() {
		return nil, errZeroBroker
	}
	config, err := subscriptionConfigOf[T](b.config.subscription, opts)
	if err := errors.Join(checkName("chat", chat), checkName("device", device), err); err != nil {
		return nil, err
	}
	if b.state.Load() != stateOpen {
		return nil, ErrClosed
	}
	if config.until != nil {
		if err := config.until.Err(); err != nil {
			return nil, err
		}
	}
	s := newSubscriber[T](device, config)
	replaced, err := b.join(s, chat, &config)
	if err != nil {
		return nil, err
	}
	if replaced != nil {
		b.finish(replaced)
	}
	s.chat.wakeFollowers()
	if config.until != nil {
		s.endWith(config.until)
	}
	b.log(slog.LevelDebug, "subscribed", chat, device)
	return s, nil
}

func newSubscriber[T any](device string, config subscriptionConfig) *Subscriber[T] {
	s := &Subscriber[T]{device: device, buffer: uint64(config.buffer), sampling: config.sampling, step: 1}
	if config.sampler != nil {
		s.sampling, s.sampler = ownSampler, config.sampler.(func(Backlog[T], T) int)
	}
	if s.sampling == DropOldest {
		s.step = uint8(min(max(config.buffer/16, 1), maxStep))
	}
	if d := config.stall(); d > 0 {
		s.stall = &stallWatch{timeout: d}
	}
	return s
}

// join adds a subscriber to a chat, which it makes if there is none.
func (b *Broker[T]) join(s *Subscriber[T], name string, config *subscriptionConfig) (replaced *Subscriber[T], err error) {
	for {
		s.chat, err = b.chatOf(name)
		if err != nil {
			return nil, err
		}
		if replaced, err = s.chat.join(s, config); err != errDead {
			return replaced, err
		}
	}
}

// chatOf returns the chat of a name, a new one if there is none.
func (b *Broker[T]) chatOf(name string) (*chat[T], error) {
	if c, ok := b.chats.Load(name); ok {
		return c, nil
	}
	b.chats.Lock()
	defer b.chats.Unlock()
	if c, ok := b.chats.Load(name); ok {
		return c, nil
	}
	switch limit := b.config.maxChats; {
	case b.state.Load() != stateOpen:
		return nil, ErrClosed
	case limit > 0 && b.chats.LenLocked() >= limit:
		return nil, limitError("chats", limit)
	}
	c := newChat(b, name)
	b.cleaner.schedule(c, c.emptySince.Add(b.config.chatIdle)) // perhaps a Publish makes it, and nobody ever comes
	b.chats.InsertLocked(name, c)
	return c, nil
}

// endWith ends the subscription when ctx ends.
func (s *Subscriber[T]) endWith(ctx context.Context) {
	c, b := s.chat, s.chat.broker
	registered := false
	b.background.enter()
	defer func() {
		if !registered { // a foreign context panics
			b.background.leave()
			c.end(s, ErrClosed, false)
		}
	}()
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		c.mu.Lock()
		ended := c.endLocked(s, cause, false)
		s.stop = nil // nothing left to stop
		c.mu.Unlock()
		if ended {
			b.announce([]*Subscriber[T]{s})
		}
		b.background.leave() // Close does not wait for the logger
		if ended {
			b.logEnded([]*Subscriber[T]{s})
		}
	})
	registered = true
	c.mu.Lock()
	open := s.end.Load() == nil
	if open {
		s.stop = stop
	}
	c.mu.Unlock()
	if !open && stop() {
		b.background.leave()
	}
}

// Devices returns the devices that are present in a chat, sorted, empty if there is none: those that are subscribed, and
// those that may still come back within the [WithLeaveGrace].
func (b *Broker[T]) Devices(chat string) []string {
	devices := []string{}
	if !b.valid() {
		return devices
	}
	if c, ok := b.chats.Load(chat); ok {
		c.mu.Lock()
		for device := range c.readers.All() {
			devices = append(devices, device)
		}
		devices = slices.AppendSeq(devices, maps.Keys(c.absent.gone()))
		c.mu.Unlock()
	}
	slices.Sort(devices)
	return devices
}

// Chats returns the chats that have a subscriber, sorted.
func (b *Broker[T]) Chats() []string {
	names := []string{}
	if !b.valid() {
		return names
	}
	for name, c := range b.chats.All() {
		c.mu.Lock()
		if c.readers.Len() > 0 {
			names = append(names, name)
		}
		c.mu.Unlock()
	}
	slices.Sort(names)
	return slices.Compact(names) // a chat that was forgotten and made anew during the walk
}

// log logs an event. A handler that panics does not take the caller with it.
func (b *Broker[T]) log(level slog.Level, msg, chat, device string, attrs ...slog.Attr) {
	l := b.config.logger
	if l == nil {
		return
	}
	defer func() { _ = recover() }()
	if !l.Enabled(context.Background(), level) {
		return
	}
	if chat != "" {
		attrs = append(attrs, slog.String("chat", chat))
	}
	if device != "" {
		attrs = append(attrs, slog.String("device", device))
	}
	l.LogAttrs(context.Background(), level, "broadcast: "+msg, attrs...)
}
