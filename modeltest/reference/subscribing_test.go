package reference_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast"
)

// How the samplers of sequences fail, on every third message; why Until's contexts end, and why
// Kick and EndChat.
var (
	errModelPanic = errors.New("the sampler panicked")
	errModelExit  = errors.New("the sampler exited")
	errModelUntil = errors.New("the cause of Until's context")
	errModelKick  = errors.New("the reason of Kick")

	errModelDone   = errors.New("the reason of EndChat")
	errModelFailed = errors.New("another reason of EndChat")
)

// modelStrategies are all strategies, those that fail last.
var modelStrategies = []refStrategy{
	{Sampling: broadcast.DropOldest},
	{Sampling: broadcast.DropNewest},
	{Sampling: broadcast.DropRandom},
	{Sampling: broadcast.Disconnect},
	{Sampling: broadcast.Block},
	{pick: pickBySum},
	{pick: pickBySum, fails: errModelPanic},
	{pick: pickBySum, fails: broadcast.ErrInvalid},
	{pick: pickBySum, fails: errModelExit},
}

// pickBySum is a sampler that gives itself away if it is shown anything else than what is pending.
// It lets others run meanwhile.
func pickBySum(n int, at func(i int) int, next int) int {
	runtime.Gosched()
	runtime.Gosched()
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

// String returns the name of the strategy.
func (s refStrategy) String() string {
	if s.pick == nil {
		return s.Sampling.String()
	}
	return fmt.Sprintf("sampler(%v)", s.fails)
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

// subscribeStrategy is the argument of opSubscribe that is a strategy.
const subscribeStrategy = 3

func (m *model) opSubscribe(o args) {
	chat, device := choose(mostlyChatA, o[0]), choose(modelDevices, o[1])
	if o[1] > 12 {
		device = ""
	}
	ref := &refSub{device: device, buffer: choose(modelBuffers, o[2]), strategy: choose(modelStrategies, o[3]), replays: -1}
	ref.follows = o[8]%3 == 1
	settings := m.ref.settings(chat)
	ref.patience = settings.patience
	opts := []broadcast.SubscribeOption{broadcast.WithBuffer(ref.buffer), ref.strategy.option()}
	if o[8] == 15 { // those of the chat
		ref.buffer, ref.strategy, opts = settings.buffer, m.strategy, nil
	}
	if ref.strategy.pick != nil && m.samplers(chat) == maxSamplers {
		return
	}
	if own := choose([]time.Duration{-1, -1, 0, -1, 5, -1, 30, -1}, o[9]) * time.Millisecond; own >= 0 {
		ref.patience = own
		opts = append(opts, broadcast.WithPatience(own))
	}
	if ref.follows {
		opts = append(opts, broadcast.WithPresence())
	}
	if ref.strategy.Sampling == broadcast.Block && ref.strategy.pick == nil {
		ref.stall = 2 * time.Minute
	}
	if stall := choose([]time.Duration{-1, -1, 40, 150, 0}, o[4]) * time.Millisecond; stall >= 0 {
		if ref.stall = stall; stall > 0 {
			ref.stall += 3 * tenth
		}
		opts = append(opts, broadcast.WithStallTimeout(ref.stall))
	}
	opts = append(opts, m.startAt(ref, chat, o[6], o[7])...)
	m.subscribe(chat, ref, choose([]time.Duration{-1, -1, -1, 0, 70, -2}, o[5])*time.Millisecond, opts)
}

// maxSamplers is how many open subscriptions of a chat have samplers of their own, at most. A
// publisher calls samplers 16 times at most (promise 20). With more readers, it depends on the order
// of the calls for whom they are called in time, and the reference does not know that order.
const maxSamplers = 4

// samplers returns how many open subscriptions of a chat have samplers of their own.
func (m *model) samplers(chat string) (n int) {
	for _, s := range m.subs {
		if s.ref.chat.name == chat && s.ref.err == nil && s.ref.strategy.pick != nil {
			n++
		}
	}
	return n
}

// startAt chooses where a subscription begins.
func (m *model) startAt(ref *refSub, chat string, how, where byte) (opts []broadcast.SubscribeOption) {
	replay := func(n int) {
		ref.replays = n
		opts = append(opts, broadcast.Replay(n))
	}
	resume := func(ref2 refPosition, p broadcast.Position) {
		ref.resumes = ref2
		opts = append(opts, broadcast.Resume(p))
	}
	switch how {
	case 1, 2, 3:
		replay([]int{2, 5, 100}[how-1])
	case 4, 5, 6, 7:
		resume(m.choosePosition(chat, where))
	case 8:
		resume(m.choosePosition(chat, where))
		replay(2)
	case 9:
		ahead := uint64(1 + where/4)
		resume(m.futurePosition(chat, where, ahead))
		if where%2 == 1 {
			replay(3)
		}
	case 10:
		reached.count(resumedFromNone)
		resume(refPosition{}, broadcast.Position{})
		if where%2 == 1 {
			replay(3)
		}
	case 11:
		replay(0)
	case 12:
		resume(m.head.ref, m.head.real)
	}
	return opts
}

// choosePosition chooses a position that was seen: mostly where one of the last subscriptions of a
// chat is.
func (m *model) choosePosition(chat string, by byte) (refPosition, broadcast.Position) {
	any := by >= 12
	skip := int(by % 4)
	for i := len(m.subs) - 1; i >= 0; i-- {
		s := m.subs[i]
		if s.position == (broadcast.Position{}) || !any && s.Chat() != chat {
			continue
		}
		if skip--; skip < 0 {
			return refPosition{s.ref.chat, s.at}, s.position
		}
	}
	return refPosition{}, broadcast.Position{}
}

// futurePosition is choosePosition, but for one that is not reached yet.
func (m *model) futurePosition(chat string, by byte, ahead uint64) (ref refPosition, p broadcast.Position) {
	ref, p = m.choosePosition(chat, by)
	if ref.chat == nil {
		return ref, p
	}
	epoch, _ := cutPosition(p)
	ref.seq = ref.chat.head() + ahead
	if err := p.UnmarshalText([]byte(epoch + "-" + strconv.FormatUint(ref.seq, 36))); err != nil {
		m.fail("UnmarshalText: %v", err)
	}
	return ref, p
}

// cutPosition returns the two parts of a position's text.
func cutPosition(p broadcast.Position) (epoch, seq string) {
	epoch, seq, _ = strings.Cut(p.String(), "-")
	return epoch, seq
}

// subscribe calls Subscribe. The context of Until ends by itself after a duration above 0, never if
// it is 0, is done if it is -2 ms; -1 ms is no Until.
func (m *model) subscribe(chat string, ref *refSub, until time.Duration, opts []broadcast.SubscribeOption) *modelSub {
	if c := m.ref.chat(chat); c != nil && ref.strategy.pick != nil && len(c.queue) > 1 {
		return nil // see roomForWaiter
	}
	s := &modelSub{ref: ref, name: chat + "/" + ref.device}
	if m.logging {
		s.name = fmt.Sprintf("%s/%s %v/%d #%d", chat, ref.device, ref.strategy, ref.buffer, len(m.subs))
	}
	if ref.strategy.fails == errModelExit {
		m.exits = true
	}
	if until != -time.Millisecond {
		ctx, cancel := context.WithCancelCause(context.Background())
		ref.until = &refCall{expires: never, ctxErr: errModelUntil}
		s.cancel = cancel
		switch {
		case until > 0:
			until += 2 * tenth
			time.AfterFunc(until, func() { cancel(errModelUntil) })
			ref.until.expires = m.now() + until
		case until < 0:
			cancel(errModelUntil)
			ref.until.expires, ref.until.ctxErr = m.now(), context.Canceled
		}
		opts = append(opts, broadcast.Until(ctx))
	}
	var err error
	m.do(func() {
		if ref.device == "" {
			s.Subscriber, err = m.real.SubscribeAnonymous(chat, opts...)
		} else {
			s.Subscriber, err = m.real.Subscribe(chat, ref.device, opts...)
		}
	})
	if m.logging {
		m.logf("Subscribe(%s, stall %v, follows %v, replay %d, resume %+v): %v", s.name, ref.stall, ref.follows, ref.replays, ref.resumes.seq, err)
	}
	m.compareError(m.ref.subscribe(chat, ref), err, "Subscribe "+s.name)
	if err != nil {
		reached.countIf(subscribeOverLimit, errors.Is(err, broadcast.ErrLimit))
		return nil
	}
	reached.subscribed(m.ref, ref)
	m.subs = append(m.subs, s)
	done := s.Done()
	go func() {
		<-done
		s.endedAt.Store(int64(m.now()))
	}()
	if s.Chat() != chat || s.Device() != ref.device || s.Recovered() != ref.recovered {
		m.fail("%s: %s %s recovered %v", s.name, s.Chat(), s.Device(), s.Recovered())
	}
	m.comparePosition(refPosition{ref.chat, ref.last}, s.Position(), s.name)
	return s
}

func (m *model) opCloseSubscriber(o args) {
	if s := m.sub(o[0]); s != nil {
		m.closeSubscriber(s)
	}
}

// closeSubscriber calls Close.
func (m *model) closeSubscriber(s *modelSub) {
	var err error
	m.do(func() { err = s.Close() })
	if m.logging {
		m.logf("Close(%s): %v", s.name, err)
	}
	if err != nil {
		m.fail("Close(%s): %v", s.name, err)
	}
	m.ref.discard(s.ref, broadcast.ErrClosed)
}

// opKick ends the subscription of a device, or its grace.
func (m *model) opKick(o args) {
	chat, device, reason := choose(mostlyChatA, o[0]), choose(modelDevices, o[1]), choose([]error{errModelKick, nil}, o[2])
	got := m.real.Kick(chat, device, reason)
	if m.logging {
		m.logf("Kick(%s, %s, %v): %v", chat, device, reason, got)
	}
	if reason == nil {
		reason = broadcast.ErrKicked
	}
	if want := m.ref.kick(chat, device, reason); got != want {
		m.fail("Kick(%s, %s): %v instead of %v", chat, device, got, want)
	}
}

// opEndChat ends a chat.
func (m *model) opEndChat(o args) {
	chat, reason := choose(mostlyChatA, o[0]), choose([]error{errModelDone, errModelFailed, nil}, o[1])
	got := m.real.EndChat(context.Background(), chat, reason)
	if m.logging {
		m.logf("EndChat(%s, %v): %v", chat, reason, got)
	}
	if reason == nil {
		reason = broadcast.ErrEnded
	}
	m.compareError(m.ref.endChat(chat, reason), got, "EndChat "+chat)
}

// opForget forgets a chat.
func (m *model) opForget(o args) {
	chat := choose(mostlyChatA, o[0])
	got := m.real.Forget(context.Background(), chat)
	if m.logging {
		m.logf("Forget(%s): %v", chat, got)
	}
	m.compareError(m.ref.forgetChat(chat), got, "Forget "+chat)
}

// opEndUntil cancels the context that was given to Until.
func (m *model) opEndUntil(o args) {
	s := m.sub(o[0])
	if s == nil || s.cancel == nil {
		return
	}
	if m.logging {
		m.logf("end Until of %s", s.name)
	}
	s.cancel(errModelUntil)
	s.ref.until.expires = min(s.ref.until.expires, m.now())
}

// opReplay looks at what is kept of a chat at this moment: a subscription replays it and is gone
// again.
func (m *model) opReplay(o args) {
	chat := choose(mostlyChatA, o[0])
	ref := &refSub{
		device: "eve", buffer: 64, strategy: modelStrategies[0], patience: m.ref.settings(chat).patience, replays: choose([]int{100, 2, 1}, o[1]),
	}
	opts := []broadcast.SubscribeOption{
		broadcast.WithBuffer(64), broadcast.WithSampling(broadcast.DropOldest), broadcast.WithStallTimeout(0), broadcast.Replay(ref.replays),
	}
	s := m.subscribe(chat, ref, -time.Millisecond, opts)
	if s == nil {
		return
	}
	for s.ref.err == nil && m.tryNext(s) {
	}
	m.closeSubscriber(s)
}

// opComeAndGo lets a device come and go more often than followers are told one by one.
func (m *model) opComeAndGo(o args) {
	chat, subs := choose(mostlyChatA, o[0]), len(m.ref.subs)
	for i := range choose([]int{150, 1, 128}, o[1]) {
		ref := &refSub{device: "eve", buffer: 1, strategy: modelStrategies[0], patience: m.ref.settings(chat).patience, replays: -1}
		s, err := m.real.Subscribe(chat, ref.device, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.DropOldest))
		m.compareError(m.ref.subscribe(chat, ref), err, "Subscribe eve")
		if err != nil {
			return
		}
		if i == 0 {
			m.sync() // a follower that waits is told of the first
		}
		_ = s.Close()
		m.ref.discard(ref, broadcast.ErrClosed)
	}
	m.ref.subs = m.ref.subs[:subs] // there is nothing in their books
}

// opHead asks where a chat is now. A later subscription may resume there.
func (m *model) opHead(o args) {
	chat := choose(mostlyChatA, o[0])
	got, err := m.real.Head(context.Background(), chat)
	want, wantErr := m.ref.head(chat)
	m.compareError(wantErr, err, "Head "+chat)
	if err == nil {
		m.comparePosition(want, got, "Head "+chat)
		m.head.ref, m.head.real = want, got
	}
}

// opLast asks for the last message of a chat.
func (m *model) opLast(o args) {
	chat := choose(mostlyChatA, o[0])
	got, ok, err := m.real.Last(context.Background(), chat)
	want, wantOK, wantErr := m.ref.last(chat)
	m.compareError(wantErr, err, "Last "+chat)
	if ok != wantOK {
		m.fail("Last %s: %v instead of %v", chat, ok, wantOK)
	}
	if ok {
		m.compareDelivery(want, got, "Last "+chat)
		m.comparePosition(refPosition{m.ref.chat(chat), want.Seq}, got.Position(), "Last "+chat)
		reached.count(lastWasKept)
	}
}
