package brokers_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// Whatever is done to three brokers and to their engine, what the engine has stored is the order
// that all readers see. A message is in it exactly once if Publish returned nil, never if it
// returned an error, and at most once after ErrUncertain. Each reader gets a part of the order, and
// Missed and Reset say exactly what is missing. A subscription that is kicked was there before the
// call of Kick, and if its node knew it, Kick has ended it. No chat has messages from both before
// and after a call of Forget, which returns ErrInUse if there were readers, and otherwise nil.
func TestBrokersMatchTheOrderOfTheirEngine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := conditions{
			Keep:    rapid.SampledFrom([]int{0, 0, 1, 3, 10}).Draw(rt, "keep"),
			History: rapid.SampledFrom([]int{0, 3, 100}).Draw(rt, "history"),
			Grace:   rapid.Bool().Draw(rt, "grace"),
			Seed:    rapid.Uint64Range(0, 1000).Draw(rt, "seed"),
		}
		plan := rapid.SliceOfN(rapid.Custom(drawOperation), 1, 40).Draw(rt, "plan")
		var difference string
		synctest.Test(t, func(t *testing.T) { difference = play(t, c, plan) })
		if difference != "" {
			rt.Fatal(difference)
		}
	})
}

const (
	nodes   = 3
	room    = "room"
	timeout = 5 * time.Second
	rest    = 100 * time.Second // after which all is at rest if nothing goes wrong any more
	sampler = broadcast.Block + 1
)

// conditions are the options of brokers and engine.
type conditions struct {
	Keep, History int
	Grace         bool
	Seed          uint64
}

// An operation is one step of a plan.
type operation struct {
	Kind     string
	Node     int // of the broker
	Reader   int // modulo how many there are
	N        int // messages
	Fault    string
	Buffer   int
	Sampling broadcast.Sampling
	Device   int // 0: anonymous
	Position int // modulo how many there are; -1: none
	Replay   int // -1: none
	Presence bool
	Chan     bool // is always read through its channel
	Calm     bool // a device subscribes in time for all nodes to know it; all is at rest
	At, Next int  // of the brokers: where it does so; where it does so again, too late; -1: nowhere
	Way      string
	After    time.Duration

	Publishers int // brokers that publish while the chat is forgotten
}

func drawOperation(t *rapid.T) operation {
	o := operation{
		Kind: rapid.SampledFrom([]string{
			"publish", "publish", "publish", "publish", "subscribe", "subscribe", "read", "read", "read",
			"close", "kick", "cut", "restore", "restore", "restart", "purge", "end", "shutdown", "sleep",
			"endchat", "forget",
		}).Draw(t, "kind"),
		Node:     rapid.IntRange(0, nodes-1).Draw(t, "node"),
		Reader:   rapid.IntRange(0, 11).Draw(t, "reader"),
		Position: -1,
		Replay:   -1,
	}
	switch o.Kind {
	case "publish":
		o.N = rapid.IntRange(1, 5).Draw(t, "n")
		o.Way = drawWay(t)
		o.Fault = rapid.SampledFrom(slices.Sorted(maps.Keys(faults))).Draw(t, "fault")
	case "subscribe":
		o.Buffer = rapid.SampledFrom([]int{1, 2, 4, 1000}).Draw(t, "buffer")
		o.Sampling = broadcast.Sampling(rapid.IntRange(0, int(sampler)).Draw(t, "sampling"))
		o.Chan = rapid.IntRange(0, 3).Draw(t, "chan") == 0
		o.Device = rapid.IntRange(0, 2).Draw(t, "device")
		o.Position = rapid.IntRange(-1, 20).Draw(t, "position")
		o.Replay = rapid.IntRange(-1, 5).Draw(t, "replay")
		o.Presence = rapid.Bool().Draw(t, "presence")
	case "endchat":
		o.N = rapid.IntRange(1, nodes).Draw(t, "n")
		o.Way = drawWay(t)
		o.Fault = rapid.SampledFrom(slices.Sorted(maps.Keys(faults))).Draw(t, "fault")
	case "forget":
		o.N = rapid.IntRange(1, nodes).Draw(t, "n")
		o.Way = drawWay(t)
		o.Fault = rapid.SampledFrom(slices.Sorted(maps.Keys(faults))).Draw(t, "fault")
		o.Calm = rapid.Bool().Draw(t, "calm")
		o.Publishers = rapid.IntRange(0, nodes).Draw(t, "publishers")
		o.Next = rapid.IntRange(-1, nodes-1).Draw(t, "next")
		o.Buffer = rapid.SampledFrom([]int{1, 4, 1000}).Draw(t, "buffer")
		o.Replay = rapid.IntRange(-1, 5).Draw(t, "replay")
		o.After = rapid.SampledFrom([]time.Duration{0, time.Millisecond, 5 * time.Millisecond, time.Second}).Draw(t, "after")
	case "read":
		o.N = rapid.IntRange(1, 8).Draw(t, "n")
		o.Way = drawWay(t)
	case "shutdown":
		o.Way = drawWay(t)
	case "kick":
		o.Device = rapid.IntRange(1, 2).Draw(t, "device")
		o.Calm = rapid.Bool().Draw(t, "calm")
		o.At = rapid.IntRange(0, nodes-1).Draw(t, "at")
		o.Next = rapid.IntRange(-1, nodes-1).Draw(t, "next")
	case "sleep":
		o.After = rapid.SampledFrom([]time.Duration{time.Millisecond, 300 * time.Millisecond, 7 * time.Second, rest}).Draw(t, "after")
	}
	return o
}

func drawWay(t *rapid.T) string {
	return rapid.SampledFrom([]string{"TryNext", "TryNextBatch", "Next", "NextBatch", "All"}).Draw(t, "way")
}

var faults = map[string]memengine.Faults{
	"":        {},
	"lost":    {LostRequest: 0.5, LostAnswer: 0.5},
	"late":    {Late: 0.5},
	"silence": {LostAnswer: 0.5, Silence: 1},
	"drop":    {Drop: 0.5},
	"repeat":  {Repeat: 0.5},
	"reorder": {Reorder: 0.5},
	"stale":   {Stale: 0.5},
	"fail":    {Fail: 0.5, Away: 0.5, Refuse: 0.5},
	"all": {
		Drop: 0.1, Repeat: 0.1, Reorder: 0.1, Stale: 0.1, Fail: 0.1, Away: 0.1, Refuse: 0.1,
		LostRequest: 0.1, LostAnswer: 0.1, Late: 0.1, Silence: 0.5,
	},
}

// ways are the ways to read what there is, at most n deliveries. Those that would wait stop then.
var ways map[string]func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string]))

func init() {
	ways = map[string]func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string])){
		"TryNext": func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string])) {
			for d, ok := s.TryNext(); ok; d, ok = s.TryNext() {
				if got(d); n == 1 {
					return
				}
				n--
			}
		},
		"TryNextBatch": func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string])) {
			into := make([]broadcast.Delivery[string], n)
			for _, d := range into[:s.TryNextBatch(into)] {
				got(d)
			}
		},
		"Next": func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string])) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			for range n {
				d, err := s.Next(ctx)
				if err != nil {
					return
				}
				got(d)
			}
		},
		"NextBatch": func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string])) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			into := make([]broadcast.Delivery[string], n)
			taken, _ := s.NextBatch(ctx, into)
			for _, d := range into[:taken] {
				got(d)
			}
		},
		"Chan": func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string])) {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for empty := 0; n > 0 && empty < 3; n-- {
				select {
				case d, ok := <-s.Chan():
					if !ok {
						ways["TryNext"](s, n, got) // what the end has left
						return
					}
					<-tick.C // until it counts as taken
					got(d)
					empty = 0
				case <-tick.C:
					empty++
				}
			}
		},
		"All": func(s *broadcast.Subscriber[string], n int, got func(broadcast.Delivery[string])) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			for d := range s.All(ctx) {
				if got(d); n == 1 {
					return
				}
				n--
			}
		},
	}
}

// play carries out a plan. It returns the first difference from the order.
func play(t *testing.T, c conditions, plan []operation) (difference string) {
	m := &machine{
		conditions: c, engine: memengine.New(c.Seed, time.Millisecond, c.Keep), times: make(map[string]*call),
		kicks: make(map[string]kick), ends: make(map[string]error),
	}
	defer m.engine.Wait()
	for i := range nodes {
		m.start(i)
	}
	defer func() {
		for _, b := range m.brokers {
			_ = b.Close()
		}
	}()
	for i, o := range plan {
		m.do(t, o)
		if m.check(); m.difference != "" {
			return fmt.Sprintf("operation %d, %+v: %s", i, o, m.difference)
		}
	}
	m.calm()
	m.check()
	m.checkAtRest()
	return m.difference
}

// machine is the brokers of one engine.
type machine struct {
	conditions
	engine  *memengine.Engine
	clients [nodes]*memengine.Client
	brokers [nodes]*broadcast.Broker[string]
	readers []*reader

	mu         sync.Mutex
	now        int                  // counts calls of Publish that began or returned, and of Kick
	kicks      map[string]kick      // by the text of the reason
	times      map[string]*call     // by message
	ends       map[string]error     // what EndChat returned, by the text of the error of publishers
	known      []broadcast.Position // that readers have had
	forgets    []*call              // of Forget
	difference string

	reached   [nodes]time.Time // since when each broker has been connected; zero: it is not
	forgotten int              // how many records of the order were forgotten
	floors    [nodes]int       // the same for what each broker must know of when all is at rest
}

// call is a call of Publish or Forget.
type call struct {
	begun, returned int
	err             error
}

// kick is a call of Kick.
type kick struct {
	device string
	begun  int
}

func (m *machine) differ(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.difference == "" {
		m.difference = fmt.Sprintf(format, args...)
	}
}

func (m *machine) know(p broadcast.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = append(m.known, p)
}

func (m *machine) start(i int) {
	m.clients[i] = m.engine.Client()
	opts := []broadcast.Option{
		broadcast.WithEngine(m.clients[i]), broadcast.WithPublishTimeout(timeout),
		broadcast.WithPatience(10 * time.Millisecond), broadcast.WithChatIdle(20 * time.Second),
		broadcast.WithCleanInterval(time.Second),
	}
	if m.History > 0 {
		opts = append(opts, broadcast.WithHistory(m.History, 0))
	}
	if m.Grace {
		opts = append(opts, broadcast.WithLeaveGrace(10*time.Second))
	}
	b, err := broadcast.New[string](opts...)
	if err != nil {
		panic(err)
	}
	m.brokers[i] = b
	m.reached[i], m.floors[i] = time.Now(), m.forgotten
}

// restore connects a broker.
func (m *machine) restore(i int) {
	m.clients[i].Restore()
	if m.reached[i].IsZero() {
		m.reached[i] = time.Now()
	}
}

// do carries out an operation.
func (m *machine) do(t *testing.T, o operation) {
	i := o.Node
	switch o.Kind {
	case "publish":
		m.publish(o)
	case "subscribe":
		m.subscribe(o)
	case "endchat":
		m.endChat(o)
	case "forget":
		m.forget(o)
	case "kick":
		m.kick(o)
	case "cut":
		m.clients[i].Cut()
		m.reached[i] = time.Time{}
	case "restore":
		m.restore(i)
	case "restart":
		m.engine.Restart()
		for i := range nodes {
			if !m.reached[i].IsZero() {
				m.reached[i] = time.Now()
			}
		}
	case "purge":
		m.engine.Purge(room)
		time.Sleep(rest) // until the check: nothing shows it before
	case "end":
		_ = m.brokers[i].Close()
		m.checkTotals(i)
		m.start(i)
	case "shutdown":
		wait := m.reading(o)
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_ = m.brokers[i].Shutdown(ctx)
		cancel()
		wait()
		m.checkTotals(i)
		m.start(i)
	case "sleep":
		time.Sleep(o.After)
	}
	if len(m.readers) == 0 {
		return
	}
	switch r := m.readers[o.Reader%len(m.readers)]; o.Kind {
	case "read":
		m.read(r, o.Way, o.N)
	case "close":
		_ = r.s.Close()
	}
}

// kick kicks a device.
func (m *machine) kick(o operation) {
	b, device := m.brokers[o.Node], fmt.Sprint("device", o.Device)
	if o.Calm {
		m.calm()
		plain := operation{Node: o.Node, Buffer: 1000, Position: -1, Replay: -1}
		m.subscribe(plain) // so that its broker has the chat in memory
		plain.Device = o.Device
		plain.Node = o.At
		m.subscribe(plain)
		time.Sleep(10 * time.Millisecond)
		if plain.Node = o.Next; o.Next >= 0 {
			m.subscribe(plain)
		}
	}
	m.now++
	reason := fmt.Sprint("kick ", m.now)
	m.kicks[reason] = kick{device, m.now}
	knew := slices.Contains(b.Devices(room), device) ||
		slices.ContainsFunc(m.readers, func(r *reader) bool { // in a chat that has ended
			return r.broker == b && r.s.Device() == device && r.s.Err() == nil
		})
	if knew != b.Kick(room, device, errors.New(reason)) || o.Calm && !knew {
		m.differ("broker %d kicked %s, and knew it: %v", o.Node, device, knew)
	}
	if o.Calm {
		time.Sleep(10 * time.Millisecond)
		m.checkKick(o, device)
	}
}

// checkKick checks that the device has the subscription that came too late to be kicked, and no
// other.
func (m *machine) checkKick(o operation, device string) {
	late := o.Next >= 0 && o.Next != o.Node
	for i, r := range m.readers {
		survives := late && i == len(m.readers)-1
		if r.s.Device() == device && survives != (r.s.Err() == nil) {
			m.differ("broker %d kicked %s: %s has ended: %v", o.Node, device, r.name, r.s.Err())
		}
	}
	if b := m.brokers[o.Node]; slices.Contains(b.Devices(room), device) != late {
		m.differ("broker %d kicked %s, and has %q", o.Node, device, b.Devices(room))
	}
}

// checkEnd checks why a reader has ended.
func (m *machine) checkEnd(r *reader) {
	err := r.s.Err()
	if err == nil {
		return
	}
	k, kicked := m.kicks[err.Error()]
	switch {
	case !kicked && errors.Is(err, broadcast.ErrKicked):
		m.differ("%s was kicked, but not by a call: %v", r.name, err)
	case kicked && k.device != r.s.Device():
		m.differ("%s of %s got the kick of %s", r.name, r.s.Device(), k.device)
	case kicked && k.begun <= r.begun:
		m.differ("%s began after its kick: %v", r.name, err)
	}
}

// read reads at most n deliveries, and returns how many there were.
func (m *machine) read(r *reader, way string, n int) (taken int) {
	if r.pumped {
		way = "Chan"
	}
	ways[way](r.s, n, func(d broadcast.Delivery[string]) {
		m.got(r, d)
		taken++
	})
	return taken
}

// reading lets a reader read while something else happens, and returns how to wait for it.
func (m *machine) reading(o operation) (wait func()) {
	var one sync.WaitGroup
	if len(m.readers) > 0 {
		r := m.readers[o.Reader%len(m.readers)]
		one.Go(func() { m.read(r, o.Way, 100) })
	}
	return one.Wait
}

// publish publishes messages on every broker at once, one after the other on each.
func (m *machine) publish(o operation) {
	m.engine.SetFaults(faults[o.Fault])
	defer m.reading(o)()
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			for range o.N {
				if m.publishOne(m.brokers[(i+o.Node)%nodes]) != nil {
					return
				}
			}
		})
	}
	all.Wait()
	m.engine.SetFaults(memengine.Faults{})
}

// publishOne publishes a message.
func (m *machine) publishOne(b *broadcast.Broker[string]) error {
	m.mu.Lock()
	m.now++
	c := &call{begun: m.now}
	message := fmt.Sprint(m.now)
	m.times[message] = c
	m.mu.Unlock()
	err := b.Publish(context.Background(), room, message)
	m.mu.Lock()
	m.now++
	c.returned, c.err = m.now, err
	m.mu.Unlock()
	switch {
	case err == nil:
	case !refused(err) && !m.ended(err):
		m.differ("publishing %s: %v", message, err)
	}
	return err
}

// endChat ends the chat on some brokers at once, while all of them publish.
func (m *machine) endChat(o operation) {
	m.engine.SetFaults(faults[o.Fault])
	defer m.reading(o)()
	var all sync.WaitGroup
	for i, b := range m.brokers {
		all.Go(func() { _ = m.publishOne(b) })
		if (i+o.Node)%nodes < o.N {
			all.Go(func() { m.endChatOnce(b) })
		}
	}
	all.Wait()
	m.engine.SetFaults(memengine.Faults{})
}

func (m *machine) endChatOnce(b *broadcast.Broker[string]) {
	m.mu.Lock()
	m.now++
	reason := fmt.Errorf("end %d", m.now)
	text := fmt.Sprintf("%v: %v", broadcast.ErrEnded, reason)
	m.ends[text] = broadcast.ErrUncertain // until it returns
	m.mu.Unlock()
	err := b.EndChat(context.Background(), room, reason)
	m.mu.Lock()
	m.ends[text] = err
	m.mu.Unlock()
	if err != nil && !refused(err) && !m.ended(err) {
		m.differ("EndChat: %v", err)
	}
}

// forget forgets the chat on some brokers at once, while some publish, and somebody may subscribe.
func (m *machine) forget(o operation) {
	if o.Calm {
		m.calm()
	}
	f := faults[o.Fault]
	m.engine.SetFaults(f)
	// Otherwise a log that joins may be told of messages after they were removed.
	told := f.Stale == 0 || o.Next < 0
	open, counts := m.open()
	var reached [nodes]bool
	for i := range nodes {
		reached[i] = m.reachable(i)
	}
	wait := m.reading(o)
	var all sync.WaitGroup
	results := make([]error, nodes)
	for i := range nodes {
		b := m.brokers[i]
		if (i+o.Node)%nodes < o.Publishers {
			all.Go(func() { _ = m.publishOne(b) })
		}
		if (i+o.Node)%nodes < o.N {
			all.Go(func() { results[i] = m.forgetOnce(i) })
		}
	}
	if o.Next >= 0 {
		all.Go(func() {
			time.Sleep(o.After)
			m.subscribe(operation{Node: o.Next, Buffer: o.Buffer, Position: -1, Replay: o.Replay})
		})
	}
	all.Wait()
	wait()
	m.engine.SetFaults(memengine.Faults{})
	for i := range nodes {
		switch err := results[i]; {
		case (i+o.Node)%nodes >= o.N:
		case err == nil:
			if r := still(counts); r != nil {
				m.differ("broker %d has forgotten the chat of %s", i, r.name)
			}
			for j := range nodes {
				if told && (reached[j] || j == i) {
					m.floors[j] = m.forgotten
				}
			}
		case err == broadcast.ErrInUse && open == 0 && o.Next < 0:
			m.differ("broker %d cannot forget a chat without readers", i)
		}
	}
	if o.Calm {
		m.calm()
		m.checkForgotten()
	}
}

// reachable reports whether a broker has been connected for long enough for others to know of it.
func (m *machine) reachable(i int) bool {
	return !m.reached[i].IsZero() && time.Since(m.reached[i]) > 3*time.Second
}

// open counts open readers, and returns those whose brokers others know.
func (m *machine) open() (n int, counts []*reader) {
	for _, r := range m.readers {
		if r.s.Err() != nil {
			continue
		}
		n++
		for i, b := range m.brokers {
			if b == r.broker && m.reachable(i) {
				counts = append(counts, r)
			}
		}
	}
	return n, counts
}

// still returns one of the readers that has not ended.
func still(readers []*reader) *reader {
	for _, r := range readers {
		if r.s.Err() == nil {
			return r
		}
	}
	return nil
}

// forgetOnce forgets the chat on a broker.
func (m *machine) forgetOnce(i int) error {
	m.mu.Lock()
	m.now++
	c := &call{begun: m.now}
	m.forgets = append(m.forgets, c)
	m.mu.Unlock()
	old := m.engine.Order(room)
	err := m.brokers[i].Forget(context.Background(), room)
	m.mu.Lock()
	m.now++
	c.returned, c.err = m.now, err
	m.mu.Unlock()
	switch {
	case err == nil:
		for _, r := range m.engine.Kept(room) {
			if slices.ContainsFunc(old, func(o engine.Record) bool { return o.ID == r.ID }) {
				m.differ("broker %d has forgotten the chat, and the engine has %+v", i, r)
			}
		}
		m.mu.Lock()
		m.forgotten = max(m.forgotten, len(old))
		m.mu.Unlock()
		if err := m.publishOne(m.brokers[i]); errors.Is(err, broadcast.ErrEnded) {
			m.differ("broker %d has forgotten the chat, and knows its end: %v", i, err)
		}
	case err != broadcast.ErrInUse && !refused(err):
		m.differ("Forget: %v", err)
	}
	return err
}

// isForget reports whether a record forgets the chat.
func isForget(r engine.Record) bool { return strings.HasSuffix(r.ID, "!-1") }

// checkForgets checks that no chat has messages from both before and after a call of Forget.
func (m *machine) checkForgets() {
	epochs := make(map[string]uint64)
	for _, r := range m.engine.Order(room) {
		for _, stored := range r.Batch {
			epochs[strings.Trim(string(stored), `"`)] = r.Epoch
		}
	}
	for _, f := range m.forgets {
		if f.err != nil {
			continue
		}
		before := make(map[uint64]bool)
		for message, c := range m.times {
			if c.err == nil && c.returned < f.begun {
				before[epochs[message]] = true
			}
		}
		for message, c := range m.times {
			if c.err == nil && c.begun > f.returned && before[epochs[message]] {
				m.differ("%s was published after Forget in a chat from before", message)
			}
		}
	}
}

// checkForgotten checks that brokers do not show what they have forgotten. All is at rest.
func (m *machine) checkForgotten() {
	for i, b := range m.brokers {
		d, ok, err := b.Last(context.Background(), room)
		if err != nil {
			m.differ("Last of broker %d: %v", i, err)
		}
		m.checkForgottenBy(i, d, ok)
		s, err := b.SubscribeAnonymous(room, broadcast.Replay(1000), broadcast.WithBuffer(1000))
		if err != nil {
			m.differ("broker %d: %v", i, err)
			continue
		}
		m.readers = append(m.readers, m.newReader(s, b, operation{Buffer: 1000}))
		for _, d := range m.take(m.readers[len(m.readers)-1]) {
			m.checkForgottenBy(i, d, true)
		}
		_ = s.Close()
	}
}

func (m *machine) checkForgottenBy(i int, d broadcast.Delivery[string], ok bool) {
	for _, r := range m.engine.Order(room)[:m.floors[i]] {
		if ok && slices.ContainsFunc(r.Batch, func(b []byte) bool { return string(b) == `"`+d.Message+`"` }) {
			m.differ("broker %d shows %+v, which was forgotten", i, d)
		}
	}
}

// refused reports whether an error is one of those that any call may get of an engine with faults.
func refused(err error) bool {
	return errors.Is(err, broadcast.ErrUncertain) || errors.Is(err, broadcast.ErrAway) ||
		errors.Is(err, broadcast.ErrOverloaded)
}

// ended reports whether an error is that of a chat that has ended by a call of EndChat that may
// have succeeded.
func (m *machine) ended(err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	end, ok := m.ends[err.Error()]
	return ok && errors.Is(err, broadcast.ErrEnded) && (end == nil || errors.Is(end, broadcast.ErrUncertain))
}

// checkEnds checks that each chat that has ended ended once, that nothing follows but the next
// chat, and that readers that have ended with it were told so.
func (m *machine) checkEnds() {
	order := m.engine.Order(room)
	stored, accepted, uncertain := 0, 0, 0
	ends := make(map[string]uint64)    // by epoch, the last number
	reasons := make(map[string]string) // by epoch
	for i, r := range order {
		if !strings.Contains(r.ID, "!") {
			continue
		}
		if !isForget(r) {
			stored++
			ends[base36(r.Epoch)] = r.Seq
			reason, _ := base64.RawURLEncoding.DecodeString(r.ID[strings.LastIndex(r.ID, "!")+1:])
			reasons[base36(r.Epoch)] = string(reason)
		}
		if i+1 < len(order) && !begins(order[i+1], r) {
			m.differ("record %+v follows the end of the chat, %+v", order[i+1], r)
		}
	}
	m.mu.Lock()
	for _, err := range m.ends {
		switch {
		case err == nil:
			accepted++
		case errors.Is(err, broadcast.ErrUncertain):
			uncertain++
		}
	}
	m.mu.Unlock()
	if stored < accepted || stored > accepted+uncertain {
		m.differ("the chat has ended %d times: %d ends were accepted, and %d are uncertain", stored, accepted, uncertain)
	}
	for _, r := range m.readers {
		err := r.s.Err()
		if !errors.Is(err, broadcast.ErrEnded) {
			continue
		}
		epoch, seq := split(r.s.Position()) // before the last reset, if no message has shown it
		last, ended := ends[epoch]
		ended = ended && strings.HasSuffix(err.Error(), ": "+reasons[epoch])
		switch stats := r.s.Stats(); {
		case !m.ended(err):
			m.differ("%s has ended with %v", r.name, err)
		case ended && seq != last && stats.Pending+stats.Discarded == 0 && stats.Missed == r.missed:
			m.differ("%s has ended with %v after number %d, and its chat after %d", r.name, err, seq, last)
		}
	}
}

// begins reports whether a record may follow an end: it begins the next chat, or forgets this one.
// After Forget the next chat may begin with a record that was late.
func begins(r, end engine.Record) bool {
	return isForget(r) || r.Prev == 0 && (r.Epoch > end.Epoch || isForget(end) && r.Epoch != end.Epoch)
}

// A reader is a subscription, with what it was last told.
type reader struct {
	s        *broadcast.Subscriber[string]
	broker   *broadcast.Broker[string]
	name     string
	sampling broadcast.Sampling
	buffer   int
	pumped   bool
	epoch    string
	seq      uint64
	began    bool // something was delivered
	floor    uint64
	taken    uint64
	missed   uint64
	devices  map[string]bool // what its presence events say
	begun    int             // counted by the machine
}

// subscribe subscribes.
func (m *machine) subscribe(o operation) {
	opts := []broadcast.SubscribeOption{broadcast.WithBuffer(o.Buffer)}
	if o.Sampling == sampler {
		opts = append(opts, broadcast.WithSampler(func(b broadcast.Backlog[string], _ string) int { return b.Len() / 2 }))
	} else {
		opts = append(opts, broadcast.WithSampling(o.Sampling))
	}
	var from broadcast.Position
	if o.Position >= 0 && len(m.known) > 0 {
		from = m.known[o.Position%len(m.known)]
		opts = append(opts, broadcast.Resume(from))
	}
	if o.Replay >= 0 {
		opts = append(opts, broadcast.Replay(o.Replay))
	}
	if o.Presence {
		opts = append(opts, broadcast.WithPresence())
	}
	b, begun := m.brokers[o.Node], time.Now()
	var s *broadcast.Subscriber[string]
	var err error
	if o.Device == 0 {
		s, err = b.SubscribeAnonymous(room, opts...)
	} else {
		s, err = b.Subscribe(room, fmt.Sprint("device", o.Device), opts...)
	}
	if took := time.Since(begun); took > timeout+time.Second {
		m.differ("Subscribe took %v", took)
	}
	if err != nil {
		if err != broadcast.ErrAway {
			m.differ("Subscribe: %v", err)
		}
		return
	}
	r := m.newReader(s, b, o)
	m.readers = append(m.readers, r)
	stats := s.Stats()
	switch resumed := from != (broadcast.Position{}); {
	case !s.Recovered():
	case stats.Missed > 0 && o.Buffer > 100:
		m.differ("%s has recovered, but missed %d", r.name, stats.Missed)
	case resumed && s.Position() != from:
		m.differ("%s has recovered, but begins at %v and not at %v", r.name, s.Position(), from)
	case !resumed && stats.Joined > 0 && stats.Head-stats.Joined < uint64(o.Replay):
		m.differ("%s has recovered a replay of %d, but begins at %d of %d", r.name, o.Replay, stats.Joined, stats.Head)
	}
}

// newReader returns what is known of a subscription that has just begun.
func (m *machine) newReader(s *broadcast.Subscriber[string], b *broadcast.Broker[string], o operation) *reader {
	m.know(s.Position())
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &reader{
		s: s, broker: b, name: fmt.Sprintf("reader %d, %v, buffer %d", len(m.readers), o.Sampling, o.Buffer),
		sampling: o.Sampling, buffer: o.Buffer, pumped: o.Chan, devices: make(map[string]bool), begun: m.now,
	}
	r.epoch, r.seq = split(s.Position())
	r.floor = r.seq
	return r
}

// take reads everything that a reader has, and returns it.
func (m *machine) take(r *reader) (all []broadcast.Delivery[string]) {
	ways["TryNext"](r.s, 1<<20, func(d broadcast.Delivery[string]) {
		m.got(r, d)
		all = append(all, d)
	})
	return all
}

// split returns the parts of a position.
func split(p broadcast.Position) (epoch string, seq uint64) {
	epoch, number, _ := strings.Cut(p.String(), "-")
	for _, digit := range number {
		seq = seq*36 + uint64(strings.IndexRune("0123456789abcdefghijklmnopqrstuvwxyz", digit))
	}
	return epoch, seq
}

// later reports whether an epoch is after another.
func later(epoch, other string) bool {
	return len(epoch) > len(other) || len(epoch) == len(other) && epoch > other
}

// got checks what a reader has got.
func (m *machine) got(r *reader, d broadcast.Delivery[string]) {
	epoch, seq := split(d.Position())
	m.know(d.Position())
	if d.Kind != broadcast.Published {
		m.gotEvent(r, d, epoch, seq)
		return
	}
	stored, at := m.find(d.Message)
	switch {
	case stored != 1:
		m.differ("%s got %+v, which was stored %d times", r.name, d, stored)
	case at != (place{epoch, d.Seq}), seq != d.Seq:
		m.differ("%s got %+v, which is stored as %v", r.name, d, at)
	case epoch == r.epoch && (d.Reset || d.Seq != r.seq+1+d.Missed):
		m.differ("%s got %+v after number %d of the same epoch", r.name, d, r.seq)
	case epoch != r.epoch && (!d.Reset || !later(epoch, r.epoch)):
		m.differ("%s got %+v of epoch %s after epoch %s", r.name, d, epoch, r.epoch)
	case epoch == r.epoch && seq <= r.floor && r.began:
		m.differ("%s got %+v after number %d", r.name, d, r.floor)
	}
	r.epoch, r.seq, r.floor, r.began = epoch, seq, seq, true
	r.taken++
	r.missed += d.Missed
	if r.s.Err() == nil && r.s.Position() != d.Position() && r.s.Stats().Delivered == r.taken {
		m.differ("%s is at %v after %v", r.name, r.s.Position(), d.Position())
	}
}

// gotEvent checks a presence event.
func (m *machine) gotEvent(r *reader, d broadcast.Delivery[string], epoch string, seq uint64) {
	if epoch != r.epoch || seq < r.floor {
		m.differ("%s got %+v in epoch %s after number %d of epoch %s", r.name, d, epoch, r.floor, r.epoch)
	}
	r.floor = seq
	if d.Kind == broadcast.Resync {
		clear(r.devices)
		return
	}
	is, told := r.devices[d.Device]
	if here := d.Kind == broadcast.Joined; told && is == here || d.Device == r.s.Device() {
		m.differ("%s got %v of %s twice", r.name, d.Kind, d.Device)
	}
	r.devices[d.Device] = d.Kind == broadcast.Joined
}

// place is where the engine has stored a message.
type place struct {
	epoch string
	seq   uint64
}

// find returns how often a message was stored, and where last.
func (m *machine) find(message string) (times int, at place) {
	for _, r := range m.engine.Order(room) {
		for i, stored := range r.Batch {
			if string(stored) == `"`+message+`"` {
				times++
				at = place{base36(r.Epoch), r.Seq - uint64(len(r.Batch)-1-i)}
			}
		}
	}
	return times, at
}

func base36(n uint64) (text string) {
	for ; n > 0; n /= 36 {
		text = string("0123456789abcdefghijklmnopqrstuvwxyz"[n%36]) + text
	}
	return text
}

// check checks what must hold at any time when no call is in progress.
func (m *machine) check() {
	synctest.Wait()
	for _, r := range m.readers {
		s := r.s.Stats()
		switch all := s.Delivered + s.Missed + s.Pending + s.Discarded; {
		case s.Head-s.Joined != all || max(s.Delivered, s.Missed, s.Pending, s.Discarded, s.Head) > 1<<40:
			m.differ("%s: the books do not balance: %+v", r.name, s)
		case s.Delivered != r.taken:
			m.differ("%s has taken %d: %+v", r.name, r.taken, s)
		case s.Missed < r.missed:
			m.differ("%s was told of %d missed: %+v", r.name, r.missed, s)
		case r.sampling == broadcast.Block && s.Pending > uint64(r.buffer) && r.buffer > 100:
			m.differ("%s has too much: %+v", r.name, s)
		}
		m.checkEnd(r)
	}
	m.checkOrder()
	m.checkEnds()
	m.checkForgets()
}

// checkOrder checks what the engine has stored.
func (m *machine) checkOrder() {
	times := make(map[string]int)
	var order []string
	var epoch, seq uint64
	for _, r := range m.engine.Order(room) {
		if r.Epoch != epoch {
			m.checkTimes(order)
			epoch, seq, order = r.Epoch, r.Seq-uint64(len(r.Batch)), nil
		}
		if seq += uint64(len(r.Batch)); r.Seq != seq {
			m.differ("record %v follows number %d", r, seq-uint64(len(r.Batch)))
		}
		for _, stored := range r.Batch {
			message := strings.Trim(string(stored), `"`)
			times[message]++
			order = append(order, message)
		}
	}
	m.checkTimes(order)
	for message, c := range m.times {
		switch n := times[message]; {
		case n > 1:
			m.differ("%s was stored %d times", message, n)
		case c.err == nil && n == 0:
			m.differ("%s was accepted, but not stored", message)
		case c.err != nil && n > 0 && !errors.Is(c.err, broadcast.ErrUncertain):
			m.differ("%s was stored after %v", message, c.err)
		}
	}
}

// checkTimes checks that a message is before those whose Publish began after its own had returned
// nil.
func (m *machine) checkTimes(order []string) {
	earliest := m.now + 1 // return of a later one
	for _, message := range slices.Backward(order) {
		c := m.times[message]
		if c.begun > earliest {
			m.differ("%s is in the order before one that was accepted before", message)
		}
		if c.err == nil {
			earliest = min(earliest, c.returned)
		}
	}
}

// checkTotals checks the counters of a broker: they are the sums over its readers.
func (m *machine) checkTotals(node int) {
	synctest.Wait()
	b := m.brokers[node]
	var sum broadcast.Stats
	for _, r := range m.readers {
		if s := r.s.Stats(); r.broker == b {
			sum.Delivered += s.Delivered
			sum.Missed += s.Missed
			sum.Pending += s.Pending
			sum.Discarded += s.Discarded
		}
	}
	all := b.Stats()
	got := broadcast.Stats{Delivered: all.Delivered, Missed: all.Missed, Pending: all.Pending, Discarded: all.Discarded}
	if got != sum {
		m.differ("broker %d has counted %+v instead of %+v", node, got, sum)
	}
}

// calm lets the engine work without a fault until all is at rest. Readers take what they have, so
// that none holds back its chat.
func (m *machine) calm() {
	for i := range nodes {
		m.restore(i)
	}
	for range 30 {
		time.Sleep(rest / 10)
		for taken := -1; taken != 0; {
			taken = 0
			for _, r := range m.readers {
				taken += m.read(r, "TryNext", 1<<20)
			}
			synctest.Wait() // more may come now that there is room
		}
	}
}

// checkAtRest checks that all brokers have the whole order, and readers that lose nothing too.
func (m *machine) checkAtRest() {
	m.checkForgotten()
	var heads [nodes]broadcast.Position
	for i, b := range m.brokers {
		var err error
		if heads[i], err = b.Head(context.Background(), room); err != nil {
			m.differ("Head of broker %d: %v", i, err)
		}
	}
	order := m.engine.Order(room)
	last := order[len(order)-1]
	for i := range heads {
		if epoch, seq := split(heads[i]); epoch != base36(last.Epoch) || seq != last.Seq {
			m.differ("broker %d is at %v, and the last record at %+v", i, heads[i], last.Place)
		}
	}
	devices := make(map[string]bool)
	for _, r := range m.readers {
		if r.s.Err() == nil && r.s.Device() != "" {
			devices[r.s.Device()] = true
		}
		s := r.s.Stats()
		switch atHead := r.s.Position() == heads[0]; {
		case r.s.Err() != nil:
		case s.Pending > 0:
			m.differ("%s does not get what it has: %+v", r.name, s)
		case !atHead && r.missed == s.Missed && last.Seq > 0:
			m.differ("%s is at %v and not at %v: %+v", r.name, r.s.Position(), heads[0], s)
		}
	}
	for i, b := range m.brokers {
		m.checkTotals(i)
		got := b.Devices(room)
		if want := slices.Sorted(maps.Keys(devices)); b.Stats().Subscribers > 0 && !slices.Equal(got, want) {
			m.differ("broker %d has the devices %q instead of %q", i, got, want)
		}
	}
}
