package reference_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast"
)

// An op is one operation of a sequence: what to do, and four numbers that choose to whom and how. Every list of them is
// valid, because numbers are taken modulo what there is to choose from: a list can be cut anywhere, mutated by the fuzzer, and
// pasted from a failure into a test.
type op struct {
	kind       opKind
	a, b, c, d byte
}

type opKind byte

const (
	opPublish opKind = iota
	opTryPublish
	opBurst
	opGoPublish
	opCancel
	opSubscribe
	opNext
	opGoNext
	opTryNext
	opNextBatch
	opAll
	opMessages
	opChan
	opCloseSubscriber
	opEndUntil
	opSleep
	opSleepToEvent
	opBooks
	opBadInput
	opShutdown
	opClose
)

// operations says what the kinds of operations do, and how often they are chosen.
var operations = [...]struct {
	name    string
	weight  int
	instant bool // it begins no wait of its own, and may be done at the very moment of an event
	do      func(m *model, o op)
}{
	opPublish:         {"opPublish", 16, false, (*model).opPublish},
	opTryPublish:      {"opTryPublish", 12, true, (*model).opTryPublish},
	opBurst:           {"opBurst", 6, false, (*model).opBurst},
	opGoPublish:       {"opGoPublish", 12, false, (*model).opGoPublish},
	opCancel:          {"opCancel", 4, true, (*model).opCancel},
	opSubscribe:       {"opSubscribe", 10, false, (*model).opSubscribe},
	opNext:            {"opNext", 8, false, (*model).opNext},
	opGoNext:          {"opGoNext", 4, false, (*model).opGoNext},
	opTryNext:         {"opTryNext", 16, true, (*model).opTryNext},
	opNextBatch:       {"opNextBatch", 6, false, (*model).opNextBatch},
	opAll:             {"opAll", 6, false, (*model).opAll},
	opMessages:        {"opMessages", 6, false, (*model).opMessages},
	opChan:            {"opChan", 6, true, (*model).opChan},
	opCloseSubscriber: {"opCloseSubscriber", 4, true, (*model).opCloseSubscriber},
	opEndUntil:        {"opEndUntil", 2, true, (*model).opEndUntil},
	opSleep:           {"opSleep", 8, false, (*model).opSleep},
	opSleepToEvent:    {"opSleepToEvent", 8, false, (*model).opSleepToEvent},
	opBooks:           {"opBooks", 2, true, (*model).opBooks},
	opBadInput:        {"opBadInput", 2, false, (*model).opBadInput},
	opShutdown:        {"opShutdown", 1, false, (*model).opShutdown},
	opClose:           {"opClose", 1, true, (*model).opClose},
}

// What there is to choose from.
var (
	modelChats   = []string{"a", "b", "c"}
	modelDevices = []string{"ann", "ben", "cem"}
	modelBuffers = []int{1, 2, 3, 4, 5, 8, 1, 2, 3, 4, 7, 8, 2, 32, 64, 32}
)

func choose[T any](from []T, by byte) T { return from[int(by)%len(from)] }

// How the samplers of sequences fail, on every third message.
var (
	errModelPanic = errors.New("the sampler panicked")
	errModelExit  = errors.New("the sampler exited")
	errModelUntil = errors.New("the cause of Until's context")
)

// modelStrategies are all strategies, those that fail last.
var modelStrategies = []refStrategy{
	{Sampling: broadcast.DropOldest},
	{Sampling: broadcast.DropNewest},
	{Sampling: broadcast.DropRandom},
	{Sampling: broadcast.Disconnect},
	{Sampling: broadcast.Block},
	{Sampling: broadcast.DropOldest},
	{Sampling: broadcast.Block},
	{Sampling: broadcast.DropOldest},
	{pick: pickBySum},
	{pick: pickBySum, fails: errModelPanic},
	{pick: pickBySum, fails: broadcast.ErrInvalid},
	{pick: pickBySum, fails: errModelExit},
}

// pickBySum is a sampler that gives itself away if it is shown anything else than what is pending.
func pickBySum(n int, at func(i int) int, next int) int {
	sum := next
	for i := range n {
		sum += at(i)
	}
	return sum % (n + 1)
}

// fail returns how the sampler fails on this message, nil if it does not.
func (s refStrategy) fail(next int) error {
	if next%3 == 0 {
		return s.fails
	}
	return nil
}

// option returns the strategy as an option of the real broker.
func (s refStrategy) option() broadcast.SharedOption {
	if s.pick == nil {
		return broadcast.WithSampling(s.Sampling)
	}
	return broadcast.WithSampler(func(backlog broadcast.Backlog[int], next int) int {
		switch err := s.fail(next); err {
		case nil:
			return s.pick(backlog.Len(), backlog.At, next)
		case broadcast.ErrInvalid:
			return []int{-1, backlog.Len() + 1}[next%2]
		case errModelExit:
			runtime.Goexit()
			return 0
		default:
			panic(err)
		}
	})
}

// newModel makes a broker with the options that the first operation of a sequence holds.
func newModel(o op) *model {
	ref := &refBroker{
		patience:      choose([]time.Duration{10, 0, 10, 3, 50, 0}, o.a) * time.Millisecond,
		cleanInterval: choose([]time.Duration{100, 20, 1000}, o.c)*time.Millisecond + 74*time.Microsecond,
		chatIdle:      choose([]time.Duration{50, 0, 300, 5000}, o.c>>4)*time.Millisecond + 4*tenth,
		chats:         map[string]*refChat{},
	}
	if p := choose([]time.Duration{60, 200, 5000, 0}, o.b) * time.Millisecond; p > 0 {
		ref.publishTimeout = p
	}
	if o.d%4 == 0 {
		ref.maxSubscribers, ref.maxChats = 2, 2
	}
	m := &model{began: time.Now(), ref: ref}
	m.defaults = refSub{buffer: choose(modelBuffers, o.d>>4), strategy: choose(modelStrategies, o.d>>4)}
	var err error
	m.real, err = broadcast.New[int](
		broadcast.WithPatience(ref.patience),
		broadcast.WithPublishTimeout(ref.publishTimeout),
		broadcast.WithCleanInterval(ref.cleanInterval),
		broadcast.WithChatIdle(ref.chatIdle),
		broadcast.WithMaxChats(ref.maxChats),
		broadcast.WithMaxSubscribers(ref.maxSubscribers),
		broadcast.WithBuffer(m.defaults.buffer),
		m.defaults.strategy.option(),
		broadcast.WithLogger(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	)
	assert.NoError(orStop, err)
	m.logf("patience %v, publish timeout %v, clean interval %v, chat idle %v, limits %d %d", ref.patience, ref.publishTimeout,
		ref.cleanInterval, ref.chatIdle, ref.maxChats, ref.maxSubscribers)
	return m
}

// modelContext is a context for the real call and what it does to the call of the reference.
type modelContext struct {
	context.Context
	cancel context.CancelFunc
	ref    refCall
	name   string
}

// context returns a context that is done already, or after some time, or never.
func (m *model) context(by byte) modelContext {
	d := choose([]time.Duration{0, 0, 2, 6, 15, 15, 55, 70, 250, -1}, by) * time.Millisecond
	switch {
	case d == 0:
		ctx, cancel := context.WithCancel(context.Background())
		return modelContext{ctx, cancel, refCall{expires: never, ctxErr: context.Canceled}, "ctx"}
	case d < 0:
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return modelContext{ctx, cancel, refCall{expires: m.now(), ctxErr: context.Canceled}, "done ctx"}
	}
	d += tenth
	ctx, cancel := context.WithTimeout(context.Background(), d)
	return modelContext{ctx, cancel, refCall{expires: m.now() + d, ctxErr: context.DeadlineExceeded}, fmt.Sprintf("ctx %v", d)}
}

// finite returns a context that is done some time.
func (m *model) finite(by byte) modelContext {
	if ctx := m.context(by); ctx.ref.expires < never {
		return ctx
	}
	return m.context(4)
}

func (m *model) opPublish(o op)    { m.publish(choose(modelChats, o.a), m.context(o.b), false) }
func (m *model) opTryPublish(o op) { m.tryPublish(choose(modelChats, o.a)) }

func (m *model) opGoPublish(o op) {
	m.publish(choose(modelChats, o.a), m.context(o.b), true)
}

func (m *model) opBurst(o op) {
	start := m.now()
	for range choose([]int{2, 3, 5, 9, 40}, o.b) {
		if m.publish(choose(modelChats, o.a), m.context(0), false); m.now() > start+100*time.Millisecond {
			return
		}
	}
}

// publish calls Publish.
func (m *model) publish(chat string, ctx modelContext, background bool) {
	if ctx.ref.expires == never && m.ref.publishTimeout == 0 && !background {
		ctx = m.finite(0)
	}
	if !m.roomForWaiter(chat) {
		return
	}
	m.messages++
	msg := m.messages
	c := m.call(fmt.Sprintf("Publish(%s, %s, %d)", ctx.name, chat, msg), ctx.cancel, func(c *modelCall) {
		c.err = m.real.Publish(ctx, chat, msg)
	})
	ctx.ref.msg = msg
	m.expect(c, m.ref.publish(chat, &ctx.ref, false), background)
}

// tryPublish calls TryPublish.
func (m *model) tryPublish(chat string) {
	m.messages++
	msg := m.messages
	c := m.call(fmt.Sprintf("TryPublish(%s, %d)", chat, msg), func() {}, func(c *modelCall) {
		c.err = m.real.TryPublish(chat, msg)
	})
	m.expect(c, m.ref.publish(chat, &refCall{msg: msg, expires: never}, true), false)
}

// roomForWaiter reports whether one more publisher may wait in a chat. Where a Next waits too, so many publishers could be let in
// at once that it would depend on the scheduler whether they find that reader full.
func (m *model) roomForWaiter(chat string) bool {
	c := m.ref.chats[chat]
	return c == nil || !slices.ContainsFunc(c.readers, func(s *refSub) bool { return s.reading != nil && s.buffer <= len(c.queue) })
}

// opCancel cancels the ctx of a call in flight.
func (m *model) opCancel(o op) {
	if len(m.calls) == 0 {
		return
	}
	c := choose(m.calls, o.a)
	m.logf("cancel %s", c.name)
	c.cancel()
	c.want.expires, c.want.ctxErr = m.now(), context.Canceled
}

func (m *model) opSubscribe(o op) {
	chat, device := choose(modelChats, o.a), choose(modelDevices, o.a>>4)
	ref := &refSub{device: device, buffer: choose(modelBuffers, o.b), strategy: choose(modelStrategies, o.c)}
	opts := []broadcast.SubscribeOption{broadcast.WithBuffer(ref.buffer), ref.strategy.option()}
	if o.d%16 == 15 { // those of the broker
		ref.buffer, ref.strategy, opts = m.defaults.buffer, m.defaults.strategy, nil
	}
	if ref.strategy.fails == errModelExit {
		m.exits = true
	}
	if ref.strategy.Sampling == broadcast.Block {
		ref.stall = 2 * time.Minute
	}
	if stall := choose([]time.Duration{-1, -1, 40, 150, 0}, o.d) * time.Millisecond; stall >= 0 {
		if ref.stall = stall; stall > 0 {
			ref.stall += 3 * tenth
		}
		opts = append(opts, broadcast.WithStallTimeout(ref.stall))
	}
	s := &modelSub{ref: ref, name: fmt.Sprintf("%s/%s %v/%d #%d", chat, device, ref.strategy, ref.buffer, len(m.subs))}
	if until := choose([]time.Duration{-1, -1, 0, 70, -2}, o.d>>4) * time.Millisecond; until > -time.Millisecond {
		ctx, cancel := context.WithCancelCause(context.Background())
		ref.until = &refCall{expires: never, ctxErr: errModelUntil}
		s.cancel = cancel
		if until > 0 {
			until += 2 * tenth
			time.AfterFunc(until, func() { cancel(errModelUntil) })
			ref.until.expires = m.now() + until
		}
		opts = append(opts, broadcast.Until(ctx))
	}

	var err error
	m.do(func() { s.Subscriber, err = m.real.Subscribe(chat, device, opts...) })
	m.logf("Subscribe(%s, stall %v): %v", s.name, ref.stall, err)
	m.compareError(m.ref.subscribe(chat, ref), err, "Subscribe "+s.name)
	if err != nil {
		return
	}
	m.subs = append(m.subs, s)
	go func() {
		<-s.Done()
		s.ended, s.endedAt = true, m.now()
	}()
	assert.Equal(orStop, []string{chat, device}, []string{s.Chat(), s.Device()})
}

// String returns the name of the strategy.
func (s refStrategy) String() string {
	if s.pick == nil {
		return s.Sampling.String()
	}
	return fmt.Sprintf("sampler(%v)", s.fails)
}

func (m *model) opCloseSubscriber(o op) {
	s := m.sub(o.a)
	if s == nil {
		return
	}
	var err error
	m.do(func() { err = s.Close() })
	m.logf("Close(%s): %v", s.name, err)
	assert.NoError(orStop, err)
	m.ref.discard(s.ref, broadcast.ErrClosed)
}

// opEndUntil cancels the context that was given to Until.
func (m *model) opEndUntil(o op) {
	s := m.sub(o.a)
	if s == nil || s.cancel == nil {
		return
	}
	m.logf("end Until of %s", s.name)
	s.cancel(errModelUntil)
	s.ref.until.expires = m.now()
}

func (m *model) opSleep(o op) {
	m.sleep(choose([]time.Duration{
		time.Millisecond, m.ref.patience / 2, m.ref.patience, m.ref.patience + time.Millisecond, 40 * time.Millisecond,
		m.ref.publishTimeout, 150 * time.Millisecond, m.ref.chatIdle, m.ref.cleanInterval, 3 * time.Minute,
	}, o.a))
}

// opSleepToEvent sleeps until the next event of the reference, so that the next operation may be done at that very moment.
func (m *model) opSleepToEvent(op) {
	if at, _ := m.ref.nextEvent(); at < m.now()+time.Minute {
		m.sleep(at - m.now())
		m.exact = true
	}
}

func (m *model) opBooks(op) { m.compareBooks() }

// opBadInput makes one of the calls that are refused whatever the state of the broker.
func (m *model) opBadInput(o op) {
	chat, device := choose(modelChats, o.b), choose(modelDevices, o.c)
	subscribe := func(chat, device string, opts ...broadcast.SubscribeOption) func() error {
		return func() error {
			s, err := m.real.Subscribe(chat, device, opts...)
			assert.Nil(orStop, s)
			return err
		}
	}
	long := strings.Repeat("x", 257)
	var noContext context.Context
	publishes := []func() error{
		func() error { return m.real.Publish(noContext, chat, 0) },
		func() error { return m.real.Publish(context.Background(), "", 0) },
		func() error { return m.real.TryPublish(long, 0) },
		func() error { return m.real.TryPublish("\xff", 0) },
	}
	calls := append(publishes,
		subscribe("", device), subscribe(chat, ""), subscribe(chat, long), subscribe("\xff", device), subscribe(chat, device, nil),
		subscribe(chat, device, broadcast.WithBuffer(0)), subscribe(chat, device, broadcast.WithSampling(9)),
		subscribe(chat, device, broadcast.WithStallTimeout(-1)), subscribe(chat, device, broadcast.Until(noContext)),
		subscribe(chat, device, broadcast.WithSampler(func(broadcast.Backlog[string], string) int { return 0 })),
		func() error { return m.real.Shutdown(noContext) },
	)
	if s := m.reader(o.b); s != nil && s.ref.err == nil {
		calls = append(calls,
			func() error { _, err := s.Next(noContext); return err },
			func() error { _, err := s.NextBatch(context.Background(), nil); return err },
			func() error {
				for range s.All(noContext) {
					assert.Fail(orStop, "All(nil) gave something")
				}
				for range s.Messages(noContext) {
					assert.Fail(orStop, "Messages(nil) gave something")
				}
				return broadcast.ErrInvalid
			},
		)
	}
	i := int(o.a) % len(calls)
	assert.ErrorIs(orStop, calls[i](), broadcast.ErrInvalid, "bad input %d", i)
	if i < len(publishes) {
		m.ref.counts.Rejected++
	}
}

// opShutdown begins a Shutdown, if there is none yet.
func (m *model) opShutdown(o op) {
	if m.ref.draining != nil || m.ref.closed && !m.ref.ended || errors.Is(m.ref.reason, context.Canceled) || errors.Is(m.ref.reason, context.DeadlineExceeded) {
		return
	}
	ctx := m.context(o.a)
	c := m.call(fmt.Sprintf("Shutdown(%s)", ctx.name), ctx.cancel, func(c *modelCall) { c.err = m.real.Shutdown(ctx) })
	m.expect(c, m.ref.shutdown(&ctx.ref), true)
}

func (m *model) opClose(op) {
	m.do(func() { assert.NoError(orStop, m.real.Close()) })
	m.ref.close()
}
