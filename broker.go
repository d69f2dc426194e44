package broadcast

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/internal/background"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/registry"
)

// A Broker delivers messages to the subscribers of chats. [New] makes one; [Broker.Close] or
// [Broker.Shutdown] ends it. The zero value is not usable: its methods return [ErrInvalid] or a
// zero result.
//
// All methods are safe for concurrent use, and may be called from inside a loop that reads a
// subscription of the broker. Two of them may then block on that same loop: Shutdown, and Publish
// if the loop reads with [Block].
type Broker[T any] struct {
	shared[T]
	chats   *registry.Map[*chat[T]]
	cleaner cleaner[T]
	ended   chan struct{} // closed when everything is torn down

	// statsMu is held by one call of Stats or ChatStats at a time, because they leave marks in
	// chats and readers. Nobody else waits for it.
	statsMu sync.Mutex
}

// New returns an open broker. It does not block. It starts a few goroutines, which [Broker.Close]
// and [Broker.Shutdown] stop. If an option is invalid, New starts nothing and returns an
// [ErrInvalid] that lists every problem.
//
// T may be any type for which [Delivery] is smaller than 64 KiB, the limit for an element of a
// channel such as that of [Subscriber.Chan]. For a larger T the compiler reports "channel element
// type too large" in this package: publish a pointer instead.
func New[T any](opts ...Option) (*Broker[T], error) {
	config, err := brokerConfigOf[T](opts)
	if err != nil {
		return nil, err
	}
	b := &Broker[T]{chats: registry.New[*chat[T]](), ended: make(chan struct{})}
	b.config, b.began, b.drained = config, time.Now(), make(chan struct{})
	b.cleaner.broker = b
	b.agenda = background.NewAgenda(b.config.slack(), b.cleaner.run)
	b.until.End = b.endUntil
	b.distributor.Start()
	b.codec = codecOf[T](&config)
	if config.engine != nil {
		b.node = cluster.Start(config.engine, cluster.Config{
			Timeout: config.publishTimeout, Refuse: config.away == AwayRefuse,
		})
	}
	return b, nil
}

// Publish delivers msg to every subscriber of a chat. It returns nil exactly when the message was
// accepted. An accepted message has its place in the chat's order; Publish does not wait until
// readers take it. If Publish returns an error, nobody ever receives the message.
//
// Publish blocks only while a reader's buffer is full: briefly for most readers (see
// [WithPatience]), and for a [Block] reader until it has room, [WithPublishTimeout] has passed, or
// ctx is done. Waiting publishers of a chat are served in order; only TryPublish may overtake them.
//
// Publish first checks for errors, in this order: [ErrInvalid] for a bad argument,
// [ErrBrokerClosed] if the broker is closed or shutting down, and ctx.Err() if ctx is done. A wait
// ends with [ErrOverloaded] at the publish timeout, with ctx.Err(), or with ErrBrokerClosed. In a
// chat that has ended, Publish returns the error of [Broker.EndChat], even if it was already
// waiting. Publishing to a chat without subscribers is not an error. With [WithHistory], Publish
// creates the chat, or returns [ErrLimit] beyond [WithMaxChats].
//
// A loop that reads with Block and publishes to its own chat may wait for itself when its buffer is
// full. It then waits as long as any publisher would; if [WithPublishTimeout] and
// [WithStallTimeout] are both 0, until ctx, the chat or the broker ends.
//
// With [WithEngine], Publish also waits until the engine has stored the message, and while the
// engine cannot be reached; see [WithAway]. There is one exception to the rule above: after
// [ErrUncertain] the message may have its place in the order, now or later. Other errors are
// [ErrAway], and [ErrInvalid] for a message that cannot be encoded or that the engine refuses, such
// as one that is too large.
func (b *Broker[T]) Publish(ctx context.Context, chat string, msg T) error {
	if !b.valid() {
		return errZeroBroker
	}
	if ctx == nil {
		return b.reject(invalidf("nil context"))
	}
	return b.publish(ctx, chat, &msg)
}

// TryPublish is like Publish but does not block. [WithPatience] does not apply: where a buffer is
// full, the reader's strategy acts at once. TryPublish may therefore drop messages of a healthy
// reader that merely waits for a CPU, or with [Disconnect] end its subscription. It overtakes
// publishers that are waiting out the patience.
//
// While a [Block] reader is full, or a publisher waits for one, TryPublish returns [ErrOverloaded]
// and no strategy acts. Its other errors are those of Publish. With [WithEngine] it returns
// [ErrInvalid]: it could not know without a wait whether the message is accepted.
func (b *Broker[T]) TryPublish(chat string, msg T) error {
	if !b.valid() {
		return errZeroBroker
	}
	return b.publish(noWait, chat, &msg)
}

// noWait is the nil context. It stands for a publisher that does not wait.
var noWait context.Context

// publish implements Publish and, with noWait, TryPublish.
func (b *Broker[T]) publish(ctx context.Context, name string, msg *T) error {
	for {
		c, ok := b.chats.Load(name)
		if !ok { // names in the registry are valid
			if err := checkName("chat", name); err != nil {
				return b.reject(err)
			}
		}
		if b.state.Load() != stateOpen {
			return b.reject(ErrBrokerClosed)
		}
		if ctx != noWait {
			if err := ctx.Err(); err != nil {
				return b.reject(err)
			}
		}
		if b.node != nil {
			if err := b.publishToEngine(ctx, name, msg); err != nil {
				return b.reject(err)
			}
			return nil
		}
		if !ok {
			config, err := b.configToPublish(name)
			if err != nil {
				return b.reject(err)
			}
			if config.historySize == 0 {
				b.totals.withoutChat.add()
				return nil
			}
			if c, err = b.chatWith(name, config); err != nil {
				return b.reject(err)
			}
		}
		switch err := c.publish(ctx, msg); err {
		case nil:
			return nil
		case errForgotten:
			continue
		default:
			if ctx != noWait && err == ErrOverloaded {
				b.logEvent(slog.LevelDebug, "publisher timed out", name, "")
			}
			return b.reject(err)
		}
	}
}

// configToPublish is chatConfigOf for a publisher, whose message is rejected if the function of
// WithChat does not return.
func (b *Broker[T]) configToPublish(name string) (*chatConfig, error) {
	if b.config.perChat == nil {
		return &b.config.chat, nil
	}
	returned := false
	defer func() {
		if !returned {
			b.totals.rejected.Add(1)
		}
	}()
	config, err := chatConfigOf[T](&b.config, name)
	returned = true
	return config, err
}

// reject counts and returns an error of Publish or TryPublish.
func (b *Broker[T]) reject(err error) error {
	b.totals.rejected.Add(1)
	return err
}

// Subscribe makes device a subscriber of chat. The subscription gets every message accepted after
// Subscribe has returned, subject to its strategy. Its options override the defaults given to
// [New].
//
// A device has at most one subscription in a chat. If it already has one, the new subscription
// takes over and the old one ends with [ErrReplaced]; give each reader a device of its own. If
// publishers were waiting for the old subscription and it had taken nothing, they do not wait for
// the new one either (see [WithPatience]) until it takes a message or waits for one.
//
// In a chat that has ended ([Broker.EndChat]), the subscription gets the kept messages that its
// options ask for, and then ends. If there are none, it has already ended when Subscribe returns
// it.
//
// Subscribe does not block. Chat and device are UTF-8 of 1 to 256 bytes. Errors: [ErrInvalid],
// listing every bad name and option; [ErrBrokerClosed]; [ErrLimit]; the error of a context given to
// [Until] that is already done.
//
// With [WithEngine], a device has at most one subscription in a chat on all brokers: the newest.
// Subscribe waits until the broker has what the engine keeps of the chat. Then it waits, for up to
// a second, for the messages that this broker has published before, and for those up to the
// position of [Resume], which another broker may have got earlier. It returns [ErrAway] if the chat
// is not ready within [WithPublishTimeout], and the error of the context of Until if that is done
// first.
func (b *Broker[T]) Subscribe(
	chat, device string, opts ...SubscribeOption,
) (*Subscriber[T], error) {
	return b.subscribe(chat, device, checkName("device", device), opts)
}

// SubscribeAnonymous is like [Broker.Subscribe] for a reader without a device, such as a viewer
// without an account. Nothing takes over its subscription, [Broker.Devices] does not list it, and
// [WithPresence] does not report that it joins or leaves. It counts like any other in Stats and
// towards [WithMaxSubscribers].
func (b *Broker[T]) SubscribeAnonymous(
	chat string, opts ...SubscribeOption,
) (*Subscriber[T], error) {
	return b.subscribe(chat, "", nil, opts)
}

// subscribe implements Subscribe and, without a device, SubscribeAnonymous. nameErr is what is
// wrong with the device.
func (b *Broker[T]) subscribe(
	chat, device string, nameErr error, opts []SubscribeOption,
) (*Subscriber[T], error) {
	if !b.valid() {
		return nil, errZeroBroker
	}
	of, err := &b.config.chat, errors.Join(checkName("chat", chat), nameErr)
	if err == nil && b.state.Load() == stateOpen {
		of, err = b.configOf(chat)
	}
	config, optionErr := subscriptionConfigOf[T](&b.config, of, opts)
	if err = errors.Join(err, optionErr); err != nil {
		return nil, err
	}
	if b.state.Load() != stateOpen {
		return nil, ErrBrokerClosed
	}
	if config.until != nil {
		if err := config.until.Err(); err != nil {
			return nil, err
		}
	}
	s := newSubscriber[T](device, config)
	ended, err := b.join(s, chat, of, &config)
	if err != nil {
		return nil, err
	}
	b.signalEnd(ended...)
	if config.until != nil { // runs user code from here on
		s.endWith(config.until)
	}
	if len(ended) > 0 {
		b.runEndHooks(ended...)
	}
	b.logEvent(slog.LevelDebug, "subscribed", chat, device)
	return s, nil
}

func newSubscriber[T any](device string, config subscriptionConfig) *Subscriber[T] {
	s := &Subscriber[T]{device: device, sampling: config.sampling, step: 1}
	s.at.Owner = s
	if config.sampler != nil {
		s.sampling, s.sampler = customSampler, config.sampler.(func(Backlog[T], T) int)
	}
	if s.sampling == DropOldest {
		s.step = uint8(min(max(config.buffer/16, 1), maxStep))
	}
	if d := config.stall(); d > 0 {
		s.stall = &stallWatch[T]{reader: s, timeout: d}
	}
	return s
}

// join adds a subscriber to a chat, creating the chat if necessary. It returns the subscriptions
// that ended because of that, as chat.join does.
func (b *Broker[T]) join(
	s *Subscriber[T], name string, of *chatConfig, config *subscriptionConfig,
) (ended []*Subscriber[T], err error) {
	ctx, cancel := b.engineWait(config.until)
	defer cancel()
	for {
		s.chat, err = b.chatWith(name, of)
		if err != nil {
			return nil, err
		}
		if err = b.awaitOrder(ctx, s.chat, config.resume); err == nil {
			ended, err = s.chat.join(s, config)
		}
		if err != errForgotten {
			return ended, err
		}
	}
}

// configOf returns the configuration of a chat, or the one that it gets when it is created.
func (b *Broker[T]) configOf(name string) (*chatConfig, error) {
	if c, ok := b.chats.Load(name); ok {
		return c.config, nil
	}
	return chatConfigOf[T](&b.config, name)
}

// chatOf returns the chat with the given name, creating it if necessary.
func (b *Broker[T]) chatOf(name string) (*chat[T], error) {
	config, err := b.configOf(name)
	if err != nil {
		return nil, err
	}
	return b.chatWith(name, config)
}

// readyChat is chatOf for Head and Last. With an engine it waits until the chat is ready.
func (b *Broker[T]) readyChat(ctx context.Context, name string) (c *chat[T], err error) {
	ctx, cancel := b.engineWait(ctx)
	defer cancel()
	for {
		if c, err = b.chatOf(name); err != nil {
			return nil, err
		}
		if err = b.awaitOrder(ctx, c, Position{}); err != errForgotten {
			return c, err
		}
	}
}

// chatWith is chatOf with the configuration that the chat gets if it is created.
func (b *Broker[T]) chatWith(name string, config *chatConfig) (*chat[T], error) {
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
		return nil, ErrBrokerClosed
	case limit > 0 && b.chats.LenLocked() >= limit:
		return nil, limitError("chats", limit)
	}
	c := newChat(&b.shared, name, config)
	c.startIdleLocked() // if Publish creates the chat, it may never get a subscriber
	c.joinNode(b)       // from here on the lock is necessary: the feed may end the chat
	b.chats.InsertLocked(name, c)
	return c, nil
}

// endWith arranges for the subscription to end when ctx does. It runs user code: methods of ctx.
func (s *Subscriber[T]) endWith(ctx context.Context) {
	c, sh := s.chat, s.chat.shared
	joined := false
	defer func() {
		if !joined { // a method of ctx panicked
			c.end(s, ErrClosed, false)
		}
	}()
	member := sh.until.Join(ctx, s)
	joined = true
	c.gate.Lock()
	open := s.end.Load() == nil
	if open {
		s.until = member
	}
	c.gate.Unlock()
	if !open {
		sh.until.Leave(member)
		sh.until.Release()
	}
}

// endUntil ends the subscriptions of a context that has ended.
func (b *Broker[T]) endUntil(cause error, subscribers iter.Seq[*Subscriber[T]]) {
	var ended []*Subscriber[T]
	b.background.Enter()
	for s := range subscribers {
		if s.chat.endQuietly(s, cause, false) && b.config.logger != nil {
			ended = append(ended, s)
		}
	}
	b.background.Leave()
	b.runEndHooks(ended...)
}

// Head returns the current position of a chat: just after its last message, or at its beginning. To
// show a page of what was published and then follow the chat without a gap, call Head first, render
// the page, and subscribe with [Resume] from that position.
//
// Head creates the chat if it does not exist. A chat without subscribers that has not ended is
// remembered for [WithChatIdle] after the last call of Head. Messages published after Head that
// [WithHistory] no longer keeps show up as Missed of the first delivery; if the chat was forgotten,
// [Subscriber.Recovered] is false.
//
// Head does not block. It returns [ErrInvalid] for a bad argument, [ErrBrokerClosed], ctx.Err() if
// ctx is done, and [ErrLimit] beyond [WithMaxChats], checked in this order. With [WithEngine] it
// waits for the chat as Subscribe does, until ctx is done, and may return [ErrAway].
func (b *Broker[T]) Head(ctx context.Context, chat string) (Position, error) {
	if err := b.check(ctx, chat); err != nil {
		return Position{}, err
	}
	for {
		c, err := b.readyChat(ctx, chat)
		if err != nil {
			return Position{}, err
		}
		if p, err := c.position(); err != errForgotten {
			return p, err
		}
	}
}

// Last returns the last message of a chat if [WithHistory] keeps it; ok is false if there is none
// or it has expired. Last does not create the chat, does not take the message from any
// subscription, and does not change any counters.
//
// Last does not block. It returns [ErrInvalid] for a bad argument, [ErrBrokerClosed], and ctx.Err()
// if ctx is done, checked in this order. With [WithEngine] it creates the chat and waits as Head
// does, with the same errors.
func (b *Broker[T]) Last(ctx context.Context, chat string) (d Delivery[T], ok bool, err error) {
	if err := b.check(ctx, chat); err != nil {
		return d, false, err
	}
	c, ok := b.chats.Load(chat)
	if b.node != nil {
		c, err = b.readyChat(ctx, chat)
		ok = err == nil
	}
	if ok {
		d, ok = c.last()
	}
	return d, ok, err
}

// check returns an error if a call about a chat cannot proceed.
func (b *Broker[T]) check(ctx context.Context, chat string) error {
	switch {
	case !b.valid():
		return errZeroBroker
	case ctx == nil:
		return invalidf("nil context")
	}
	if err := checkName("chat", chat); err != nil {
		return err
	}
	if b.state.Load() != stateOpen {
		return ErrBrokerClosed
	}
	return ctx.Err()
}

// Devices returns the sorted names of the devices that are present in a chat: those that are
// subscribed, and those that left but may still come back within [WithLeaveGrace]. It does not
// block. The result is empty, not nil, if there are none, and if the chat has ended. A device that
// joins or leaves during the call may or may not be included.
//
// With [WithEngine], these are the devices on all brokers, as far as this one knows. It knows those
// of the chats that it has in memory: after Subscribe, [Broker.Head] or [Broker.Last], until it
// forgets the chat.
func (b *Broker[T]) Devices(chat string) []string {
	devices := []string{}
	if !b.valid() {
		return devices
	}
	if c, ok := b.chats.Load(chat); ok {
		c.gate.Lock()
		n := c.readers.Len()
		over := c.endedLocked()
		c.gate.Unlock()
		if over {
			return devices
		}
		devices = make([]string, 0, n+pieceSize)
		c.gate.Lock()
		c.eachDeviceLocked(func(device string, _ *Subscriber[T]) { devices = append(devices, device) })
		c.gate.Unlock()
	}
	slices.Sort(devices)
	return slices.Compact(devices) // a device may have left and come back meanwhile
}

// Chats returns the sorted names of the chats that have an open subscription. It does not block.
// The result is empty, not nil, if there are none. A chat that gets its first or loses its last
// subscriber during the call may or may not be included.
func (b *Broker[T]) Chats() []string {
	names := []string{}
	if !b.valid() {
		return names
	}
	for name, c := range b.chats.All() {
		c.gate.Lock()
		if c.openCountLocked() > 0 {
			names = append(names, name)
		}
		c.gate.Unlock()
	}
	slices.Sort(names)
	return slices.Compact(names) // a chat may have been forgotten and created again meanwhile
}
