package broadcast_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/engine"
)

// noEngine is an engine that cannot be reached, so that the test feeds the chats by hand.
type noEngine struct{}

func (noEngine) Open(ctx context.Context, _ engine.Sink) (engine.Session, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// hand feeds a chat as the node of an engine does, and lists everything that it has told the chat.
// Its messages are 1, 2, 3, and so on: their indexes.
type hand struct {
	t       *testing.T
	b       *auditedBroker[int]
	fed     broadcast.Fed[int]
	places  []place
	rest    [][]byte // what the chat has no room for yet
	waiting bool
}

// A place is a number of the order: that of a message, of one that was lost, or the one before the
// first of an epoch.
type place struct {
	epoch, seq   uint64
	index        uint64 // of the last message up to here
	lost, resets uint64 // up to here
	message      bool
}

// position returns the position after a place.
func (p place) position(t testing.TB) (at broadcast.Position) {
	t.Helper()
	text := strconv.FormatUint(p.epoch, 36) + "-" + strconv.FormatUint(p.seq, 36)
	require.NoError(t, at.UnmarshalText([]byte(text)))
	return at
}

// newHand returns a broker, one chat of which is fed by hand. The numbers begin after seq.
func newHand(t *testing.T, epoch, seq uint64, opts ...broadcast.Option) *hand {
	t.Helper()
	b := newBroker[int](t, append(opts, broadcast.WithEngine(noEngine{}))...)
	h := handIn(t, b, chat)
	h.reset(epoch, seq)
	h.fed.Ready()
	return h
}

// handIn returns a hand for a chat of a broker, to which nothing has been told yet.
func handIn(t *testing.T, b *auditedBroker[int], chat string) *hand {
	t.Helper()
	t.Cleanup(func() { b.calls.Store(b.Stats().Accepted + b.Stats().Rejected) }) // nobody calls Publish
	return &hand{t: t, b: b, fed: broadcast.FeedByHand(b.Broker, chat)}
}

func (h *hand) tail() place { return h.places[len(h.places)-1] }

func (h *hand) reset(epoch, seq uint64) {
	p := place{epoch: epoch, seq: seq}
	if len(h.places) > 0 {
		p.index, p.lost, p.resets = h.tail().index, h.tail().lost, h.tail().resets+1
	}
	h.places = append(h.places, p)
	h.fed.Reset(epoch, seq)
}

func (h *hand) hole(n uint64) {
	h.lose(n)
	h.fed.Hole(n)
}

func (h *hand) lose(n uint64) {
	for range n {
		p := h.tail()
		p.seq, p.lost, p.message = p.seq+1, p.lost+1, false
		h.places = append(h.places, p)
	}
}

// feed offers n more messages, and reports whether there was room for all.
func (h *hand) feed(n int) bool {
	for range n {
		p := h.tail()
		p.seq, p.index, p.message = p.seq+1, p.index+1, true
		h.places = append(h.places, p)
		h.rest = append(h.rest, strconv.AppendUint(nil, p.index, 10))
	}
	return h.offer()
}

// offer offers what is left, as far as there is room.
func (h *hand) offer() bool {
	for len(h.rest) > 0 && (!h.waiting || h.fed.Ahead()) {
		n := h.fed.Feed(h.rest, time.Now())
		h.rest = h.rest[n:]
		h.waiting = len(h.rest) > 0
		synctest.Wait()
	}
	return len(h.rest) == 0
}

// of returns the place of a message.
func (h *hand) of(message int) place {
	i := slices.IndexFunc(h.places, func(p place) bool { return p.message && p.index == uint64(message) })
	require.GreaterOrEqual(h.t, i, 0, message)
	return h.places[i]
}

// at returns the place of a position.
func (h *hand) at(position broadcast.Position) place {
	i := slices.IndexFunc(h.places, func(p place) bool { return p.position(h.t) == position })
	require.GreaterOrEqual(h.t, i, 0, position)
	return h.places[i]
}

// handed is a reader of a chat that is fed by hand, and where it is.
type handed struct {
	*broadcast.Subscriber[int]
	h           *hand
	began, last place
	taken       uint64
}

// reader returns a reader that begins at a place.
func (h *hand) reader(s *broadcast.Subscriber[int], at place) *handed {
	h.t.Helper()
	require.Equal(h.t, at.position(h.t), s.Position())
	return &handed{Subscriber: s, h: h, began: at, last: at}
}

// join subscribes a reader that begins at the end.
func (h *hand) join(device string, opts ...broadcast.SubscribeOption) *handed {
	h.t.Helper()
	return h.reader(h.b.join(chat, device, opts...), h.tail())
}

// got checks a delivery: its number, what was missed before it, and where one would go on after it.
func (r *handed) got(d broadcast.Delivery[int]) {
	t := r.h.t
	t.Helper()
	if d.Kind != broadcast.Published {
		at := r.h.at(d.Position())
		require.GreaterOrEqual(t, at.seq, r.last.seq, "an event goes back: %+v", d)
		require.Equal(t, r.last.epoch, at.epoch, "%+v", d)
		require.Equal(t, r.last.lost, at.lost, "an event is behind a hole that was not shown: %+v", d)
		require.Equal(t, r.last.resets, at.resets, "an event is behind a reset that was not shown: %+v", d)
		return
	}
	at := r.h.of(d.Message)
	require.Greater(t, at.index, r.last.index, "not in order: %+v", d)
	want := broadcast.Delivery[int]{
		Chat: chat, Seq: at.seq, Missed: at.index - r.last.index - 1 + at.lost - r.last.lost,
		Reset: at.resets > r.last.resets, Message: d.Message,
	}
	require.Equal(t, at.position(t), d.Position())
	require.Equal(t, want, broadcast.Delivery[int]{
		Chat: d.Chat, Seq: d.Seq, Missed: d.Missed, Reset: d.Reset, Message: d.Message,
	}, "after %+v", r.last)
	r.last = at
	r.taken++
}

// gotMessage notes a message that came without the rest of its delivery.
func (r *handed) gotMessage(message int) {
	r.h.t.Helper()
	at := r.h.of(message)
	require.Greater(r.h.t, at.index, r.last.index, "not in order")
	r.last = at
	r.taken++
}

// check checks the counters of the reader, and its position, if nobody reads it.
func (r *handed) check() broadcast.SubscriberStats {
	t := r.h.t
	t.Helper()
	stats, tail := requireBooks(t, r.Subscriber), r.h.tail()
	require.Equal(t, r.taken, stats.Delivered)
	if r.Err() != nil {
		return stats
	}
	require.Equal(t, r.last.position(t), r.Position())
	tail.index -= uint64(len(r.h.rest))
	if r.h.waiting && r.h.fed.Ahead() {
		tail.index++
	}
	if len(r.h.rest) == 0 {
		require.Equal(t, tail.index-r.began.index+tail.lost-r.began.lost, stats.Head-stats.Joined, "%+v", stats)
	}
	switch {
	case tail.resets > r.began.resets:
		require.Zero(t, stats.Joined)
	case len(r.h.rest) == 0:
		require.Equal(t, r.began.seq, stats.Joined)
		require.Equal(t, tail.seq, stats.Head)
	}
	require.Less(t, max(stats.Delivered, stats.Missed, stats.Pending, stats.Discarded), uint64(1)<<40, "%+v", stats)
	return stats
}
