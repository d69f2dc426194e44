// Package enginetest tests whether a driver keeps the contract of [engine.Engine].
//
// The tests use real time: they wait until something happens, and give up after [Config.Settle].
// They also work in a bubble of testing/synctest.
package enginetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// A Config describes the engine to test.
type Config struct {
	// New returns the driver of another node. All of them use the same engine, which may also be in
	// use by others: the names of the chats are random.
	New func() engine.Engine

	// Cut disconnects a driver that New has returned from the engine, and returns a function that
	// connects it again. If Cut is nil, what follows a reconnection is not tested.
	Cut func(driver engine.Engine) (restore func())

	// Forget makes the engine lose its memory of all chats. If it is nil, that is not tested.
	Forget func()

	// Keep is how many records of a chat the engine keeps. 0 means all that the tests store.
	Keep int

	// Settle is how long the engine may take to hand over a record, to reconnect, and to bring
	// Heads and Read up to date. The default is 5 s.
	Settle time.Duration
}

// Run runs all tests, each as a subtest of t.
func Run(t *testing.T, config Config) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(config); err != nil {
				t.Error(err)
			}
		})
	}
}

var checks = slices.Concat(sessionChecks, nodeChecks)

// check is one test of a driver.
type check struct {
	name string
	do   func(s *suite)
}

// run does the check, and returns what is wrong.
func (c check) run(config Config) (err error) {
	if config.Settle == 0 {
		config.Settle = 5 * time.Second
	}
	s := &suite{Config: config, prefix: strconv.FormatUint(rand.Uint64(), 36)}
	defer func() {
		for _, n := range s.nodes {
			n.close()
		}
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r
		default:
			panic(r)
		}
	}()
	c.do(s)
	return nil
}

// suite is one run of a check.
type suite struct {
	Config
	prefix string
	nodes  []*node
}

// failure is what a check panics with, to be recovered by run.
type failure struct{ error }

func (s *suite) fail(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}

// must fails the check if err is not nil.
func (s *suite) must(what string, err error) {
	if err != nil {
		s.fail("%s: %w", what, err)
	}
}

// chat returns the name of a chat of this run.
func (s *suite) chat(name string) string { return s.prefix + name }

// context returns the context of one call. It ends early enough for another call: an engine that
// is losing its memory may not answer.
func (s *suite) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.Settle/4)
}

// eventually waits until ok returns true.
func (s *suite) eventually(what string, ok func() bool) {
	const pause = 2 * time.Millisecond
	for begin := time.Now(); !ok(); time.Sleep(pause) {
		if time.Since(begin) > s.Settle {
			s.fail("%s: not within %v", what, s.Settle)
		}
	}
}

// node is a session, and what its sink was told.
type node struct {
	*suite
	driver  engine.Engine
	session engine.Session

	mu      sync.Mutex
	ups     []bool
	records map[string][]engine.Record // by chat
	sent    map[string][]string        // by subject
	closed  bool
	late    bool // something was handed over after Close
}

// open opens a session, and waits until it is up.
func (s *suite) open() *node {
	n := &node{
		suite: s, driver: s.New(),
		records: make(map[string][]engine.Record), sent: make(map[string][]string),
	}
	ctx, cancel := s.context()
	defer cancel()
	session, err := n.driver.Open(ctx, n)
	s.must("Open", err)
	n.session = session
	s.nodes = append(s.nodes, n)
	s.eventually("Up(true) after Open", func() bool { return n.isUp() })
	return n
}

func (n *node) close() {
	ctx, cancel := n.context()
	defer cancel()
	_ = n.session.Close(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
}

// Stored implements [engine.Sink].
func (n *node) Stored(chat string, r engine.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records[chat] = append(n.records[chat], r)
	n.late = n.late || n.closed
}

// Sent implements [engine.Sink].
func (n *node) Sent(subject string, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent[subject] = append(n.sent[subject], string(data))
	n.late = n.late || n.closed
}

// got returns what was sent to a subject.
func (n *node) got(subject string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.sent[subject]...)
}

// send sends data, which must succeed.
func (n *node) send(subject, data string) { n.must("Send", n.session.Send(subject, []byte(data))) }

// Up implements [engine.Sink].
func (n *node) Up(up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ups = append(n.ups, up)
	n.late = n.late || n.closed
}

// Failed implements [engine.Sink].
func (n *node) Failed(error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late = n.late || n.closed
}

func (n *node) isUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.ups) > 0 && n.ups[len(n.ups)-1]
}

// handed returns the records of a chat that were handed over.
func (n *node) handed(chat string) []engine.Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]engine.Record(nil), n.records[chat]...)
}

// append appends a record, which must succeed.
func (n *node) append(chat string, after engine.Place, id string, messages ...string) engine.Record {
	p, err := n.try(chat, after, id, messages...)
	n.must("Append", err)
	want := engine.Place{Epoch: after.Epoch, Seq: after.Seq + uint64(len(messages)), Mark: p.Mark}
	if p != want || p.Mark == 0 || p.Mark == after.Mark {
		n.fail("Append after %+v of %d messages returned %+v", after, len(messages), p)
	}
	r := engine.Record{Place: p, Prev: after.Mark, ID: id}
	for _, m := range messages {
		r.Batch = append(r.Batch, []byte(m))
	}
	return r
}

// try calls Append, and waits for its answer.
func (n *node) try(
	chat string, after engine.Place, id string, messages ...string,
) (engine.Place, error) {
	ctx, cancel := n.context()
	defer cancel()
	batch := make([][]byte, len(messages))
	for i, m := range messages {
		batch[i] = []byte(m)
	}
	return Append(ctx, n.session, chat, after, batch, id)
}

// Append calls Append of a session, and waits for its answer until ctx is done.
func Append(
	ctx context.Context, s engine.Session,
	chat string, after engine.Place, batch [][]byte, id string,
) (engine.Place, error) {
	type answer struct {
		engine.Place
		error
	}
	done := make(chan answer, 1)
	s.Append(chat, after, batch, id, func(p engine.Place, err error) { done <- answer{p, err} })
	select {
	case a := <-done:
		return a.Place, a.error
	case <-ctx.Done():
		return engine.Place{}, ctx.Err()
	}
}

// insist appends a record while the engine may not be steady yet: again until it is stored, or is
// found to have been stored by an earlier call. It returns its place.
func (n *node) insist(chat string, after engine.Place, id string, messages ...string) (p engine.Place) {
	n.eventually("Append", func() bool {
		var err error
		if p, err = n.try(chat, after, id, messages...); err == nil {
			return true
		}
		ctx, cancel := n.context()
		defer cancel()
		records, err := n.session.Read(ctx, chat, after, 1)
		if err != nil || len(records) == 0 || records[0].ID != id {
			return false
		}
		p = records[0].Place
		return true
	})
	return p
}

// follow follows chats, which must succeed.
func (n *node) follow(chats ...string) {
	ctx, cancel := n.context()
	defer cancel()
	n.must("Follow", n.session.Follow(ctx, chats...))
}

// newest returns the newest records of chats, as Heads tells them.
func (n *node) newest(chats ...string) []engine.Record {
	ctx, cancel := n.context()
	defer cancel()
	heads, err := n.session.Heads(ctx, chats...)
	n.must("Heads", err)
	if len(heads) != len(chats) {
		n.fail("Heads of %d chats returned %d records", len(chats), len(heads))
	}
	return heads
}

// heads returns the newest places of chats.
func (n *node) heads(chats ...string) (places []engine.Place) {
	for _, r := range n.newest(chats...) {
		places = append(places, r.Place)
	}
	return places
}

// read reads records of a chat, at most max in one call, up to the given one.
func (n *node) read(chat string, after engine.Place, max int, last engine.Place) (all []engine.Record) {
	n.eventually("Read up to a record", func() bool {
		ctx, cancel := n.context()
		defer cancel()
		records, err := n.session.Read(ctx, chat, after, max)
		n.must("Read", err)
		if len(records) > max {
			n.fail("Read of at most %d records returned %d", max, len(records))
		}
		if len(records) > 0 {
			all, after = append(all, records...), records[len(records)-1].Place
		}
		return after.Mark == last.Mark
	})
	return all
}

// purge removes records, which must succeed.
func (n *node) purge(chat string, mark uint64) {
	ctx, cancel := n.context()
	defer cancel()
	n.must("Purge", n.session.Purge(ctx, chat, mark))
}

// readOnly waits until a chat has these records and no other.
func (n *node) readOnly(what, chat string, want []engine.Record) {
	var got []engine.Record
	n.eventually(what, func() bool {
		got = n.read(chat, engine.Place{}, 100, want[len(want)-1].Place)
		return len(got) == len(want)
	})
	n.same(what, got, want)
}

// readKept reads the records of a chat after a place that is older than those that the engine
// keeps, until as many are found. There may be more before, if one answer is out of date, and the
// next one is not.
func (n *node) readKept(chat string, after engine.Place, all []engine.Record) (kept []engine.Record) {
	n.eventually("trimming", func() bool {
		kept = n.read(chat, after, len(all), all[len(all)-1].Place)
		return len(kept) == len(n.kept(all))
	})
	return kept
}

// same fails the check if two lists of records differ.
func (s *suite) same(what string, got, want []engine.Record) {
	if len(got) != len(want) {
		s.fail("%s: %d records instead of %d", what, len(got), len(want))
	}
	for i, r := range got {
		w := want[i]
		equal := r.Place == w.Place && r.Prev == w.Prev && r.ID == w.ID && len(r.Batch) == len(w.Batch)
		for j := 0; equal && j < len(r.Batch); j++ {
			equal = string(r.Batch[j]) == string(w.Batch[j])
		}
		if !equal {
			s.fail("%s: record %d is %+v instead of %+v", what, i, r, w)
		}
	}
}
