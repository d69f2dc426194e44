package reference_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
)

// newStrategy is the argument of opNew that is a strategy.
const newStrategy = 6

// newModel makes a broker with the options that the arguments of opNew choose.
func newModel(o args, logging bool) *model {
	ref := &refBroker{
		publishTimeout: choose([]time.Duration{60, 200, 5000, 0}, o[1]) * time.Millisecond,
		cleanInterval:  choose([]time.Duration{100, 20, 1000}, o[2])*time.Millisecond + 74*time.Microsecond,
	}
	ref.patience = choose([]time.Duration{10, 0, 10, 3, 50, 0}, o[0]) * time.Millisecond
	ref.chatIdle = choose([]time.Duration{50, 0, 300, 5000}, o[3])*time.Millisecond + 4*tenth
	ref.buffer = choose(modelBuffers, o[5])
	limits := choose([][2]int{{}, {}, {}, {}, {}, {}, {2, 2}, {}, {0, 2}, {}, {}, {0, 2}, {}, {}, {}, {1, 0}}, o[4])
	ref.maxChats, ref.maxSubs = limits[0], limits[1]
	history := choose([]struct {
		n   int
		age time.Duration
	}{{}, {4, 0}, {3, 55}, {16, 250}, {}, {64, 1000}, {1, 0}, {2, 20}}, o[7])
	if ref.history = history.n; history.age > 0 {
		ref.age = history.age*time.Millisecond + 6*tenth
	}
	if grace := choose([]time.Duration{0, 0, 30, 120, 0, 1000}, o[8]); grace > 0 {
		// The microseconds keep apart what begins by itself: a device leaves some time after
		// another wait ended its subscription.
		ref.grace = grace*time.Millisecond + 5*tenth + 7*time.Microsecond
	}
	m := &model{began: time.Now(), ref: ref, logging: logging, stalls: &stallLog{place: make(map[string]int)}}
	m.strategy = choose(modelStrategies, o[newStrategy])
	if o[9]%2 > 0 {
		ref.own = map[string]refSettings{"b": {
			patience: 20 * time.Millisecond, chatIdle: 90*time.Millisecond + 4*tenth, buffer: 3, maxSubs: ref.maxSubs,
			history: 5, age: 35*time.Millisecond + 6*tenth, grace: ref.grace,
		}, "c": {patience: ref.patience, chatIdle: ref.chatIdle, buffer: 2, maxSubs: 2, history: 0, grace: 0}}
	}
	var err error
	m.real, err = broadcast.New[int](
		broadcast.WithPatience(ref.patience),
		broadcast.WithPublishTimeout(ref.publishTimeout),
		broadcast.WithCleanInterval(ref.cleanInterval),
		broadcast.WithChatIdle(ref.chatIdle),
		broadcast.WithMaxChats(ref.maxChats),
		broadcast.WithMaxSubscribers(ref.maxSubs),
		broadcast.WithHistory(ref.history, ref.age),
		broadcast.WithLeaveGrace(ref.grace),
		broadcast.WithBuffer(ref.buffer),
		m.strategy.option(),
		broadcast.WithChat(func(chat string) []broadcast.ChatOption {
			own, ok := ref.own[chat]
			if !ok {
				return nil
			}
			return []broadcast.ChatOption{
				broadcast.WithPatience(own.patience),
				broadcast.WithChatIdle(own.chatIdle),
				broadcast.WithMaxSubscribers(own.maxSubs),
				broadcast.WithHistory(own.history, own.age),
				broadcast.WithLeaveGrace(own.grace),
				broadcast.WithBuffer(own.buffer),
			}
		}),
		broadcast.WithLogger(slog.New(m.stalls)),
	)
	if err != nil {
		m.fail("New: %v", err)
	}
	if logging {
		m.logf("patience %v, publish timeout %v, clean interval %v, chat idle %v, limits %v, history %d of %v, grace %v", ref.patience,
			ref.publishTimeout, ref.cleanInterval, ref.chatIdle, limits, ref.history, ref.age, ref.grace)
	}
	return m
}

// stallLog is a handler that notes in which order subscriptions stalled, which cannot be told from
// the time if several did in one visit of the cleaner.
type stallLog struct {
	slog.Handler

	mu    sync.Mutex
	n     int            // that stalled so far
	place map[string]int // of the last one of a device, by chat/device, from 1
}

func (*stallLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *stallLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "broadcast: subscription stalled" {
		return nil
	}
	var chat, device string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "chat":
			chat = a.Value.String()
		case "device":
			device = a.Value.String()
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.place[chat+"/"+device] = l.n
	return nil
}

// placeOf returns the place of a subscription that has stalled.
func (l *stallLog) placeOf(s *refSub) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.place[s.chat.name+"/"+s.device]
}

// modelContext is a context for the real call and what it does to the call of the reference.
type modelContext struct {
	context.Context
	cancel context.CancelFunc
	ref    refCall
	name   string
}

// context returns a context that is done already, or after some time, or never. No two begin at the
// same moment, and so no two calls: which of them gives up first, and whether that lets the other
// one in, would be for the scheduler to say.
func (m *model) context(by byte) modelContext {
	if m.contextAt == m.now() {
		m.sleep(time.Microsecond)
	}
	m.contextAt = m.now()
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
	return modelContext{ctx, cancel, refCall{expires: m.now() + d, ctxErr: context.DeadlineExceeded}, "ctx " + d.String()}
}

// finite returns a context that is done some time.
func (m *model) finite(by byte) modelContext {
	if ctx := m.context(by); ctx.ref.expires < never {
		return ctx
	}
	return m.context(4)
}

func (m *model) opPublish(o args)    { m.publish(choose(mostlyChatA, o[0]), m.context(o[1]), false) }
func (m *model) opGoPublish(o args)  { m.publish(choose(mostlyChatA, o[0]), m.context(o[1]), true) }
func (m *model) opTryPublish(o args) { m.tryPublish(choose(mostlyChatA, o[0])) }

func (m *model) opBurst(o args) {
	start := m.now()
	for range choose([]int{2, 3, 5, 9, 40}, o[1]) {
		if m.publish(choose(mostlyChatA, o[0]), m.context(0), false); m.now() > start+100*time.Millisecond {
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
	ctx.ref.msg = msg
	name := "Publish"
	if m.logging {
		name = fmt.Sprintf("Publish(%s, %s, %d)", ctx.name, chat, msg)
	}
	c := m.call(name, ctx.cancel, func(c *modelCall) { c.err = m.real.Publish(ctx, chat, msg) })
	m.expect(c, m.ref.publish(chat, &ctx.ref, false), background)
}

// tryPublish calls TryPublish.
func (m *model) tryPublish(chat string) {
	if !m.roomForWaiter(chat) {
		return
	}
	m.messages++
	msg := m.messages
	name := "TryPublish"
	if m.logging {
		name = fmt.Sprintf("TryPublish(%s, %d)", chat, msg)
	}
	c := m.call(name, func() {}, func(c *modelCall) { c.err = m.real.TryPublish(chat, msg) })
	m.expect(c, m.ref.publish(chat, &refCall{msg: msg, expires: never}, true), false)
}

// roomForWaiter reports whether one more publisher may come to a chat. If too many were let in at
// once, it would depend on the scheduler whether they find a reader full that waits in a Next; and
// for whom a sampler is called that one of them is calling already.
func (m *model) roomForWaiter(chat string) bool {
	c := m.ref.chat(chat)
	return c == nil || !slices.ContainsFunc(c.readers, func(s *refSub) bool {
		return s.reading != nil && s.buffer <= len(c.queue) || s.strategy.pick != nil && len(c.queue) > 0
	})
}

// opCancel cancels the ctx of a call in flight.
func (m *model) opCancel(o args) {
	if len(m.calls) == 0 {
		return
	}
	c := choose(m.calls, o[0])
	if m.logging {
		m.logf("cancel %s", c.name)
	}
	c.cancel()
	c.want.expires, c.want.ctxErr = m.now(), context.Canceled
}

func (m *model) opSleep(o args) {
	m.sleep(choose([]time.Duration{
		time.Millisecond, m.ref.patience / 2, m.ref.patience, m.ref.patience + time.Millisecond, 40 * time.Millisecond,
		m.ref.publishTimeout, 150 * time.Millisecond, m.ref.chatIdle, m.ref.cleanInterval, m.ref.grace, m.ref.grace / 2, m.ref.age,
		m.ref.age / 2, time.Second, 3 * time.Minute,
	}, o[0]))
}

// opSleepToMoment sleeps until the next thing happens in the reference, so that the next operation
// may be done at that very moment: also when a message in a history is as old as it may be, or a
// nanosecond too old.
func (m *model) opSleepToMoment(o args) {
	at := m.ref.nextMoment().at
	for _, c := range m.ref.chats {
		if kept := m.ref.kept(c); c.age > 0 && kept < c.head() {
			at = min(at, c.log[kept].at+c.age+time.Duration(o[0]%2))
		}
	}
	if at < m.now()+time.Minute {
		m.sleep(at - m.now())
		m.exact = true
	}
}

// opShutdown begins a Shutdown, if there is none yet.
func (m *model) opShutdown(o args) {
	r := m.ref
	if r.draining != nil || r.closed && !r.ended || errors.Is(r.reason, context.Canceled) || errors.Is(r.reason, context.DeadlineExceeded) {
		return
	}
	ctx := m.context(o[0])
	ctx.ref.shutdown = true
	c := m.call("Shutdown "+ctx.name, ctx.cancel, func(c *modelCall) { c.err = m.real.Shutdown(ctx) })
	for _, s := range m.subs {
		if s.uncertain() && s.Err() != nil {
			s.ref.told = len(s.ref.chat.events)
		}
	}
	m.expect(c, r.shutdown(&ctx.ref), true)
}

func (m *model) opClose(args) {
	if err := m.real.Close(); err != nil {
		m.fail("Close: %v", err)
	}
	m.ref.close()
}

// opBadInput makes one of the calls that are refused whatever the state of the broker.
func (m *model) opBadInput(o args) {
	chat, device := choose(modelChats, o[1]), choose(modelDevices, o[2])
	subscribe := func(chat, device string, opts ...broadcast.SubscribeOption) func() error {
		return func() error {
			s, err := m.real.Subscribe(chat, device, opts...)
			if s != nil {
				m.fail("Subscribe with bad input returned a subscriber")
			}
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
		subscribe(chat, device, broadcast.Replay(-1)), subscribe(chat, device, broadcast.Replay(1<<21)),
		subscribe(chat, device, broadcast.WithSampler(func(broadcast.Backlog[string], string) int { return 0 })),
		func() error { return m.real.Shutdown(noContext) },
		func() error { return new(broadcast.Position).UnmarshalText([]byte("here")) },
	)
	if s := m.reader(o[1]); s != nil && s.ref.err == nil {
		calls = append(calls, m.badReads(s)...)
	}
	i := int(o[0]+16*o[2]) % len(calls)
	if err := calls[i](); !errors.Is(err, broadcast.ErrInvalid) {
		m.fail("bad input %d: %v", i, err)
	}
	if i < len(publishes) {
		m.ref.counts.Rejected++
	}
}

// badReads returns reads that are refused.
func (m *model) badReads(s *modelSub) []func() error {
	var noContext context.Context
	return []func() error{
		func() error { _, err := s.Next(noContext); return err },
		func() error { _, err := s.NextBatch(context.Background(), nil); return err },
		func() error {
			for range s.All(noContext) {
				m.fail("All(nil) gave something")
			}
			for range s.Messages(noContext) {
				m.fail("Messages(nil) gave something")
			}
			return broadcast.ErrInvalid
		},
	}
}
