package stresstest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

// parcel is a message that says where it comes from and where it goes to.
type parcel struct {
	publisher, number int
	chat              string
	sum               uint64
}

func newParcel(publisher, number int, chat string) parcel {
	p := parcel{publisher: publisher, number: number, chat: chat}
	p.sum = p.checksum()
	return p
}

// checksum is that of Fowler, Noll and Vo, of whole numbers.
func (p parcel) checksum() uint64 {
	sum := uint64(14695981039346656037)
	mix := func(n uint64) { sum = (sum ^ n) * 1099511628211 }
	mix(uint64(p.publisher))
	mix(uint64(p.number))
	for _, b := range []byte(p.chat) {
		mix(uint64(b))
	}
	return sum
}

// noContext stands for a call of TryPublish.
var noContext context.Context

// witness watches a broker on which everything happens at once, where no result can be predicted:
// all parcels are published and all subscriptions read through it, and when the broker is closed,
// what the readers saw and what the books say must fit together.
type witness struct {
	t       *testing.T
	broker  *broadcast.Broker[parcel]
	forgets bool // chats are forgotten, after which Seq begins anew
	calls   atomic.Int64
	fates   [][]fate // of the parcels, by publisher and number

	mu      sync.Mutex
	readers []*watched // of all subscriptions
}

// fate is what became of one parcel.
type fate struct {
	chat     string        // written by its publisher
	accepted bool          // written by its publisher
	seq      atomic.Uint64 // written by the first who takes it
}

// newWitness returns one for so many publishers that make at most so many messages each, and a new
// broker.
func newWitness(t *testing.T, publishers, messages int, opts ...broadcast.Option) *witness {
	t.Helper()
	b, err := broadcast.New[parcel](opts...)
	require.NoError(t, err)
	w := &witness{t: t, broker: b, fates: make([][]fate, publishers)}
	for i := range w.fates {
		w.fates[i] = make([]fate, messages)
	}
	return w
}

// publish publishes one parcel, with noContext by TryPublish, and notes whether it was accepted.
func (w *witness) publish(ctx context.Context, publisher, number int, chat string) (err error) {
	msg := newParcel(publisher, number, chat)
	if ctx == noContext {
		err = w.broker.TryPublish(chat, msg)
	} else {
		err = w.broker.Publish(ctx, chat, msg)
	}
	f := &w.fates[publisher][number]
	f.chat, f.accepted = chat, err == nil
	w.calls.Add(1)
	return err
}

// subscribe subscribes, anonymously without a device, and watches what is read.
func (w *witness) subscribe(chat, device string, opts ...broadcast.SubscribeOption) (*watched, error) {
	join := func() (*broadcast.Subscriber[parcel], error) { return w.broker.Subscribe(chat, device, opts...) }
	if device == "" {
		join = func() (*broadcast.Subscriber[parcel], error) { return w.broker.SubscribeAnonymous(chat, opts...) }
	}
	s, err := join()
	if err != nil {
		return nil, err
	}
	r := &watched{Subscriber: s, witness: w, chat: chat, seq: s.Stats().Joined, last: make([]int, len(w.fates))}
	for i := range r.last {
		r.last[i] = -1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readers = append(w.readers, r)
	return r, nil
}

// verify compares the books with what was seen. The broker is closed, and all is at rest.
func (w *witness) verify() {
	t := w.t
	t.Helper()
	subs := make([]*broadcast.Subscriber[parcel], len(w.readers))
	var replaced, disconnected, stalled uint64
	for i, r := range w.readers {
		subs[i] = r.Subscriber
		require.Error(t, r.Err(), "the broker is closed")
		<-r.Done()
		switch r.Err() {
		case broadcast.ErrReplaced:
			replaced++
		case broadcast.ErrSlow:
			disconnected++
		case broadcast.ErrStalled:
			stalled++
		}
		books := r.Stats()
		assert.Equal(t, r.count, books.Delivered, "Delivered")
		assert.LessOrEqual(t, r.missed, books.Missed, "told by deliveries more than missed")
	}
	got := broadcasttest.CheckTotals(t, w.broker, uint64(w.calls.Load()), subs...)
	assert.Equal(t, w.verifyFates(), got.Accepted, "accepted")
	assert.Equal(t, replaced, got.Replaced, "replaced")
	assert.Equal(t, disconnected, got.Disconnected, "disconnected")
	assert.Equal(t, stalled, got.Stalled, "stalled")
	assert.Zero(t, got.Chats)
	if !w.forgets {
		assert.Zero(t, got.ChatsCleaned)
	}
	assert.Empty(t, w.broker.Chats())
}

// verifyFates returns how many parcels were accepted. Nobody took another one, and no two have the
// same place in a chat.
func (w *witness) verifyFates() (accepted uint64) {
	type place struct {
		chat string
		seq  uint64
	}
	places := make(map[place]bool)
	for p := range w.fates {
		for n := range w.fates[p] {
			f := &w.fates[p][n]
			seq := f.seq.Load()
			if f.accepted {
				accepted++
			} else if seq != 0 {
				w.t.Errorf("message %d of publisher %d was refused and delivered", n, p)
			}
			if seq == 0 || w.forgets {
				continue
			}
			at := place{f.chat, seq}
			if places[at] {
				w.t.Errorf("two messages are %v", at)
			}
			places[at] = true
		}
	}
	return accepted
}

// watched is a subscription whose deliveries are checked. It is read by one goroutine.
type watched struct {
	*broadcast.Subscriber[parcel]

	witness *witness
	chat    string
	count   uint64 // how many it has taken
	missed  uint64 // how many they said were missed before them
	seq     uint64 // of the last one,
	unknown bool   // unless that is not known
	last    []int  // the number of the last one, by publisher
}

// took checks one delivery: it comes after the one before, Missed is the hole in between, and its
// Seq is the same for all readers.
func (r *watched) took(d broadcast.Delivery[parcel]) {
	t := r.witness.t
	if d.Seq <= r.seq {
		t.Errorf("Seq %d after %d", d.Seq, r.seq)
	}
	if hole := d.Seq - r.seq - 1; d.Missed != hole && !r.unknown {
		t.Errorf("Seq %d after %d, Missed %d", d.Seq, r.seq, d.Missed)
	}
	if d.Chat != r.chat {
		t.Errorf("a delivery of chat %s in chat %s", d.Chat, r.chat)
	}
	r.seq, r.unknown = d.Seq, false
	r.missed += d.Missed
	if r.tookMessage(d.Message) {
		if f := &r.witness.fates[d.Message.publisher][d.Message.number]; !f.seq.CompareAndSwap(0, d.Seq) && f.seq.Load() != d.Seq {
			t.Errorf("%v has Seq %d here and %d there", d.Message, d.Seq, f.seq.Load())
		}
	}
}

// tookMessage checks the message alone: it is whole, for this chat, and after the one that its
// publisher made before.
func (r *watched) tookMessage(p parcel) bool {
	r.count++
	if p.chat != r.chat || p.sum != p.checksum() {
		r.witness.t.Errorf("%v in chat %s", p, r.chat)
		return false
	}
	if p.number <= r.last[p.publisher] {
		r.witness.t.Errorf("%v after %d", p, r.last[p.publisher])
	}
	r.last[p.publisher] = p.number
	return true
}

// next takes one message.
func (r *watched) next(ctx context.Context) error {
	d, err := r.Next(ctx)
	if err == nil {
		r.took(d)
	}
	return err
}

// readRest takes what there is, until the subscription has ended and nothing is left.
func (r *watched) readRest() {
	for {
		if err := r.next(context.Background()); err != nil {
			assert.ErrorIs(r.witness.t, err, r.Err())
			return
		}
	}
}
