package broadcast_test

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// note is a message that names where it is from: publisher by sent it to chat as its nth.
type note struct {
	chat   string
	by, n  int
	copies [8]int // all n: a message that was put together from two would show here
}

func newNote(chat string, by, n int) note {
	return note{chat: chat, by: by, n: n, copies: [8]int{n, n, n, n, n, n, n, n}}
}

// publishNotes lets several goroutines publish each some notes, by turns in each of the chats, and returns those that were accepted.
func publishNotes(b *auditedBroker[note], publishers, each int, chats ...string) map[note]bool {
	var mu sync.Mutex
	accepted := make(map[note]bool)
	var all sync.WaitGroup
	for by := range publishers {
		all.Go(func() {
			for n := range each {
				msg := newNote(chats[n%len(chats)], by, n)
				if b.Publish(b.t.Context(), msg.chat, msg) == nil {
					mu.Lock()
					accepted[msg] = true
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return accepted
}

// Promise 1.
func TestMessagesOfOnePublisherAreTakenInItsOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[note](t, broadcast.WithBuffer(10))
		var readers []func() []broadcast.Delivery[note]
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			readers = append(readers, read(b, b.join(chat, s.String(), broadcast.WithSampling(s))))
		}
		publishNotes(b, 8, 500, chat)
		require.NoError(t, b.Shutdown(t.Context()))
		for _, wait := range readers {
			last := map[int]int{}
			for _, d := range wait() {
				if before, ok := last[d.Message.by]; ok {
					require.Greater(t, d.Message.n, before)
				}
				last[d.Message.by] = d.Message.n
			}
			require.Len(t, last, 8)
		}
	})
}

// Promises 2 and 4: with one Seq for one message and Seqs that rise, no two subscriptions can differ in the order of what both took,
// and none takes a message twice.
func TestAllSubscriptionsTakeTheirCommonMessagesInTheSameOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[note](t, broadcast.WithBuffer(10), broadcast.WithPatience(0))
		var readers []func() []broadcast.Delivery[note]
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			for _, device := range []string{"-1", "-2"} {
				readers = append(readers, read(b, b.join(chat, s.String()+device, broadcast.WithSampling(s))))
			}
		}
		publishNotes(b, 8, 500, chat)
		require.NoError(t, b.Shutdown(t.Context()))

		at := map[uint64]note{}
		seqs := map[note]uint64{}
		for _, wait := range readers {
			var last uint64
			for _, d := range wait() {
				require.Greater(t, d.Seq, last)
				last = d.Seq
				if msg, ok := at[d.Seq]; ok {
					require.Equal(t, msg, d.Message, "Seq %d", d.Seq)
				}
				at[d.Seq] = d.Message
				seqs[d.Message] = d.Seq
			}
		}
		require.Len(t, seqs, len(at), "one message at two Seqs")
	})
}

// Promise 3.
func TestAPublishThatReturnedBeforeAnotherBeganHasTheSmallerSeq(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const publishers, each = 8, 500
		type span struct{ began, returned, seq int64 }
		b := newBroker[*span](t, broadcast.WithBuffer(publishers*each))
		s := b.join(chat, "reader")

		var ticks atomic.Int64
		var all sync.WaitGroup
		for range publishers {
			all.Go(func() {
				for range each {
					msg := &span{began: ticks.Add(1)}
					assert.NoError(t, b.Publish(t.Context(), chat, msg))
					msg.returned = ticks.Add(1)
				}
			})
		}
		all.Wait()

		var spans []*span
		for _, d := range takeAll(t, s) {
			d.Message.seq = int64(d.Seq)
			spans = append(spans, d.Message)
		}
		require.Len(t, spans, publishers*each)

		// Sweep by time: whoever begins now must come after all that have returned by now.
		begins, returns := slices.Clone(spans), slices.Clone(spans)
		slices.SortFunc(begins, func(x, y *span) int { return cmp.Compare(x.began, y.began) })
		slices.SortFunc(returns, func(x, y *span) int { return cmp.Compare(x.returned, y.returned) })
		var newest int64
		for _, msg := range begins {
			for returns[0].returned < msg.began {
				newest = max(newest, returns[0].seq)
				returns = returns[1:]
			}
			require.Greater(t, msg.seq, newest)
		}
	})
}

// Promises 4 and 5.
func TestWhatIsTakenWasAcceptedInThatChatWholeAndOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[note](t, broadcast.WithBuffer(4), broadcast.WithPublishTimeout(20*time.Millisecond))
		chats := []string{"red", "green", "blue"}
		var readers []func() []broadcast.Delivery[note]
		for _, chat := range chats {
			for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
				readers = append(readers, read(b, b.join(chat, s.String(), broadcast.WithSampling(s))))
			}
		}
		// Nobody reads it until it is ended, so that messages are refused meanwhile.
		stuck := b.join("green", "stuck", broadcast.WithSampling(broadcast.Block))
		time.AfterFunc(time.Second, func() { _ = stuck.Close() })

		accepted := publishNotes(b, 8, 300, chats...)
		require.NotZero(t, b.Stats().Rejected)
		require.NoError(t, b.Shutdown(t.Context()))
		for i, wait := range readers {
			taken := map[note]bool{}
			for _, d := range wait() {
				require.True(t, accepted[d.Message], "invented: %+v", d)
				require.False(t, taken[d.Message], "twice: %+v", d)
				require.Equal(t, chats[i/5], d.Message.chat)
				taken[d.Message] = true
			}
		}
	})
}

// T is handed on without copying what it points to.
func TestAllReadersGetTheSameMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[*note](t)
		one, two := b.join(chat, "one"), b.join(chat, "two")
		msg := &note{}
		b.publish(chat, msg)
		require.Same(t, msg, take(t, one, 1)[0])
		require.Same(t, msg, take(t, two, 1)[0])
	})
}
