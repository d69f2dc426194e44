package broadcast_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// A chat with nobody in it is forgotten when its idle time is over, also while somebody waits for
// it to be ready.
func TestAWaitForTheEngineEndsThoughTheChatIsForgotten(t *testing.T) {
	for name, call := range map[string]func(b *broadcast.Broker[int]) error{
		"Subscribe": func(b *broadcast.Broker[int]) error { _, err := b.Subscribe(chat, "ann"); return err },
		"Head":      func(b *broadcast.Broker[int]) error { _, err := b.Head(context.Background(), chat); return err },
		"Last":      func(b *broadcast.Broker[int]) error { _, _, err := b.Last(context.Background(), chat); return err },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithEngine(noEngine{}), broadcast.WithPublishTimeout(5*time.Second),
					broadcast.WithChatIdle(time.Second), broadcast.WithCleanInterval(100*time.Millisecond))
				answer := async(func() error { return call(b.Broker) })
				sleep(4 * time.Second)
				require.GreaterOrEqual(t, b.Stats().ChatsCleaned, uint64(3))
				require.Equal(t, result{broadcast.ErrAway, 5 * time.Second}, inTime(t, answer))
			})
		})
	}
}

// errGone is why contexts end.
var errGone = errors.New("nobody waits any more")

func TestSubscribeWaitsUntilTheChatIsReady(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithEngine(noEngine{}), broadcast.WithHistory(10, 0))
		h := handIn(t, b, chat)
		var s *broadcast.Subscriber[int]
		answer := async(func() (err error) {
			s, err = b.Subscribe(chat, "ann", broadcast.Replay(5))
			return err
		})
		sleep(time.Second)
		h.reset(1, 4)
		h.feed(3)
		sleep(time.Second)
		require.Zero(t, b.Stats().Subscribers)
		h.fed.Ready()
		require.Equal(t, result{nil, 2 * time.Second}, inTime(t, answer))
		require.EqualValues(t, 3, s.Stats().Pending)
		require.EqualValues(t, 4, s.Stats().Joined)
		require.Zero(t, elapsed(func() { b.join(chat, "bob") }), "from then on it does not wait")
		p, err := b.Head(t.Context(), chat)
		require.NoError(t, err)
		require.Equal(t, h.tail().position(t), p)
		d, ok, err := b.Last(t.Context(), chat)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, []any{uint64(7), 3}, []any{d.Seq, d.Message})
	})
}

// Waiting for a chat ends like this when nothing comes.
func TestAWaitForTheEngineEnds(t *testing.T) {
	for name, row := range map[string]struct {
		timeout time.Duration
		call    func(ctx context.Context, b *broadcast.Broker[int]) error
		end     func(b *auditedBroker[int], cancel context.CancelCauseFunc)
		want    result
	}{
		"the publish timeout": {
			timeout: 3 * time.Second, call: subscribeUntil, want: result{broadcast.ErrAway, 3 * time.Second},
		},
		"the context of Until": {
			timeout: 3 * time.Second, call: subscribeUntil,
			end:  func(_ *auditedBroker[int], cancel context.CancelCauseFunc) { cancel(errGone) },
			want: result{context.Canceled, time.Second},
		},
		"the context of Head": {
			call: func(ctx context.Context, b *broadcast.Broker[int]) error {
				_, err := b.Head(ctx, chat)
				return err
			},
			end:  func(_ *auditedBroker[int], cancel context.CancelCauseFunc) { cancel(errGone) },
			want: result{context.Canceled, time.Second},
		},
		"the context of Last": {
			call: func(ctx context.Context, b *broadcast.Broker[int]) error {
				_, _, err := b.Last(ctx, chat)
				return err
			},
			end:  func(_ *auditedBroker[int], cancel context.CancelCauseFunc) { cancel(errGone) },
			want: result{context.Canceled, time.Second},
		},
		"Close": {
			call: subscribeUntil,
			end:  func(b *auditedBroker[int], _ context.CancelCauseFunc) { _ = b.Close() },
			want: result{broadcast.ErrBrokerClosed, time.Second},
		},
		"Shutdown": {
			call: subscribeUntil,
			end:  func(b *auditedBroker[int], _ context.CancelCauseFunc) { _ = b.Shutdown(context.Background()) },
			want: result{broadcast.ErrBrokerClosed, time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithEngine(noEngine{}), broadcast.WithPublishTimeout(row.timeout))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				answer := async(func() error { return row.call(ctx, b.Broker) })
				sleep(time.Second)
				if row.end != nil {
					row.end(b, cancel)
				}
				require.Equal(t, row.want, inTime(t, answer))
				require.Zero(t, b.Stats().Subscribers)
			})
		})
	}
}

func subscribeUntil(ctx context.Context, b *broadcast.Broker[int]) error {
	_, err := b.Subscribe(chat, "ann", broadcast.Until(ctx))
	return err
}

// Another broker may have handed out a message already that this one has yet to get.
func TestResumeWaitsForItsPosition(t *testing.T) {
	for name, row := range map[string]struct {
		come      func(h *hand)
		recovered bool
		took      time.Duration
	}{
		"a message":       {func(h *hand) { h.feed(2) }, true, 300 * time.Millisecond},
		"a hole":          {func(h *hand) { h.hole(2) }, true, 300 * time.Millisecond},
		"a hole around":   {func(h *hand) { h.hole(5) }, false, 300 * time.Millisecond},
		"too little":      {func(h *hand) { h.feed(1) }, false, time.Second},
		"another epoch":   {func(h *hand) { h.reset(2, 0) }, false, 300 * time.Millisecond},
		"nothing":         {func(*hand) {}, false, time.Second},
		"what is decoded": {func(h *hand) { h.fed.Feed([][]byte{[]byte("?")}, time.Now()); h.lose(1); h.feed(1) }, true, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHand(t, 1, 0, broadcast.WithHistory(10, 0))
				h.feed(3)
				p := place{epoch: 1, seq: 5}.position(t)
				var s *broadcast.Subscriber[int]
				answer := async(func() (err error) {
					s, err = h.b.Subscribe(chat, "ann", broadcast.Resume(p))
					return err
				})
				sleep(300 * time.Millisecond)
				row.come(h)
				require.Equal(t, result{nil, row.took}, inTime(t, answer))
				require.Equal(t, row.recovered, s.Recovered())
				if row.recovered {
					require.Equal(t, p, s.Position())
					require.Zero(t, s.Stats().Missed)
				}
			})
		})
	}
}

func TestAWaitForAPositionEnds(t *testing.T) {
	for name, end := range map[string]func(h *hand, cancel func()){
		"the context": func(_ *hand, cancel func()) { cancel() },
		"Close":       func(h *hand, _ func()) { _ = h.b.Close() },
		"Shutdown":    func(h *hand, _ func()) { _ = h.b.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHand(t, 1, 0, broadcast.WithHistory(10, 0))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				answer := async(func() error {
					_, err := h.b.Subscribe(chat, "ann", broadcast.Resume(place{epoch: 1, seq: 5}.position(t)), broadcast.Until(ctx))
					return err
				})
				sleep(time.Millisecond)
				end(h, cancel)
				got := inTime(t, answer)
				require.Equal(t, time.Millisecond, got.took)
				if name == "the context" {
					require.ErrorIs(t, got.err, context.Canceled)
				} else {
					require.ErrorIs(t, got.err, broadcast.ErrBrokerClosed)
				}
			})
		})
	}
}

// The history of a chat counts from its own log, wherever the numbers begin.
func TestAHistoryThatBeganInTheMiddleIsNotComplete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 3, 100, broadcast.WithHistory(4, 0))
		h.feed(6)
		for seq, want := range map[uint64]struct {
			recovered bool
			missed    uint64
			pending   uint64
		}{
			106: {true, 0, 0}, 102: {true, 0, 4}, 101: {false, 1, 4}, 100: {false, 2, 4}, 90: {false, 12, 4},
		} {
			s := h.b.join(chat, "ann", broadcast.Resume(place{epoch: 3, seq: seq}.position(t)))
			require.Equal(t, want.recovered, s.Recovered(), seq)
			require.Equal(t, want.missed, s.Stats().Missed, seq)
			require.Equal(t, want.pending, s.Stats().Pending, seq)
			if d, ok := s.TryNext(); ok {
				require.Equal(t, want.missed, d.Missed)
				require.EqualValues(t, 103, d.Seq)
			}
			requireBooks(t, s)
		}
		for n, recovered := range map[int]bool{0: true, 4: true, 5: false, 200: false} {
			s := h.b.join(chat, "ann", broadcast.Replay(n))
			require.Equal(t, recovered, s.Recovered(), n)
		}
	})
	bubble(t, func(t *testing.T) {
		h := newHand(t, 3, 100, broadcast.WithHistory(1000, 0))
		h.feed(6)
		for n, recovered := range map[int]bool{0: true, 6: true, 7: false, 200: false} {
			s := h.b.join(chat, "ann", broadcast.Replay(n))
			require.Equal(t, recovered, s.Recovered(), n)
			require.EqualValues(t, min(n, 6), s.Stats().Pending)
		}
	})
}

// Nobody knows how much was lost before the numbers began anew.
func TestAReplayFromTheBeginningIsNotCompleteAfterAReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 3, broadcast.WithHistory(10, 0))
		h.reset(2, 0)
		h.feed(2)
		require.False(t, h.b.join(chat, "ann", broadcast.Replay(3)).Recovered())
		require.True(t, h.b.join(chat, "ann", broadcast.Replay(2)).Recovered())
	})
}

// What Publish has accepted is part of what the broker shows from then on.
func TestCallsSeeWhatTheirBrokerHasPublished(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		slow := broadcast.WithCodec(
			func(msg string) ([]byte, error) { return []byte(msg), nil },
			func(data []byte) (string, error) { sleep(time.Millisecond); return string(data), nil })
		b := nodes(t, e, 1, broadcast.WithHistory(10, 0), slow)[0]
		for i := range 200 {
			require.NoError(t, b.Publish(t.Context(), chat, strconv.Itoa(i)))
			switch i % 3 {
			case 0:
				d, ok, err := b.Last(t.Context(), chat)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, strconv.Itoa(i), d.Message)
			case 1:
				p, err := b.Head(t.Context(), chat)
				require.NoError(t, err)
				s, err := b.SubscribeAnonymous(chat, broadcast.Resume(p))
				require.NoError(t, err)
				require.Zero(t, s.Stats().Pending)
				require.NoError(t, s.Close())
			case 2:
				s, err := b.SubscribeAnonymous(chat)
				require.NoError(t, err)
				require.EqualValues(t, i+1, s.Stats().Joined)
				require.NoError(t, s.Close())
			}
		}
	})
}

// A reader that holds back a chat delays subscribers by a second, and no more.
func TestSubscribeWaitsForItsBrokersMessagesForASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		brokers := nodes(t, e, 2, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block))
		_, err := brokers[0].Subscribe(chat, "ann")
		require.NoError(t, err)
		for i := range 3 {
			require.NoError(t, brokers[1].Publish(t.Context(), chat, strconv.Itoa(i)))
		}
		sleep(soon)
		require.Equal(t, time.Second, elapsed(func() {
			s, err := brokers[0].Subscribe(chat, "bob")
			require.NoError(t, err)
			require.EqualValues(t, 1, s.Stats().Joined)
		}))
	})
}

// While a feed waits for one chat, calls about another one are not delayed.
func TestAStuckReaderDelaysOnlyItsOwnChat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		brokers := nodes(t, e, 2, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block), broadcast.WithPublishTimeout(time.Second))
		stuck, err := brokers[0].Subscribe("stuck", "ann")
		require.NoError(t, err)
		for i := range 5 {
			require.NoError(t, brokers[1].Publish(t.Context(), "stuck", strconv.Itoa(i)), "its own readers hold nobody back")
		}
		sleep(100 * time.Millisecond)
		require.ErrorIs(t, brokers[0].Publish(t.Context(), "stuck", "x"), broadcast.ErrOverloaded)
		s, err := brokers[0].Subscribe("free", "ann")
		require.NoError(t, err)
		for i := range 5 {
			require.Less(t, elapsed(func() {
				require.NoError(t, brokers[i%2].Publish(t.Context(), "free", strconv.Itoa(i)))
				d, err := s.Next(t.Context())
				require.NoError(t, err)
				require.Equal(t, strconv.Itoa(i), d.Message)
			}), 100*time.Millisecond)
		}
		for i := range 5 {
			d, err := stuck.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(i), d.Message)
			require.Zero(t, d.Missed)
		}
		require.NoError(t, brokers[0].Publish(t.Context(), "stuck", "x"))
	})
}

// Promise 64: not from when a broker has got the message.
func TestTheAgeOfAHistoryCountsFromThePublish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		brokers := nodes(t, memengine.New(1, time.Millisecond, 0), 3, broadcast.WithHistory(10, 10*time.Second))
		require.NoError(t, brokers[0].Publish(t.Context(), chat, "1"))
		replayed := func(b *broadcast.Broker[string]) []string {
			s, err := b.SubscribeAnonymous(chat, broadcast.Replay(10))
			require.NoError(t, err)
			return payloads(takeAll(t, s))
		}
		sleep(9 * time.Second)
		require.Equal(t, []string{"1"}, replayed(brokers[1]))
		sleep(2 * time.Second)
		require.Empty(t, replayed(brokers[2]), "a broker that has just got it")
		require.Empty(t, replayed(brokers[1]), "one that has had it")
	})
}
