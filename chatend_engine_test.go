package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// idleHere is WithChatIdle in these tests.
const idleHere = time.Minute

// endText is the text of the error with which errDone ends a chat.
var endText = fmt.Sprintf("%v: %v", broadcast.ErrEnded, errDone)

// requireEndElsewhere fails the test unless an error is what EndChat with errDone gives, on any
// broker.
func requireEndElsewhere(t testing.TB, err error) {
	t.Helper()
	require.ErrorIs(t, err, broadcast.ErrEnded)
	require.EqualError(t, err, endText)
	require.NotErrorIs(t, err, broadcast.ErrClosed)
}

// drained takes what there is until the subscription has ended, and returns it.
func drained(t testing.TB, s *broadcast.Subscriber[int]) (got string) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		d, err := s.Next(ctx)
		cancel()
		if err != nil {
			requireEndElsewhere(t, err)
			return strings.TrimSpace(got)
		}
		got += " " + telling(d)
	}
}

// Promise 71.
func TestAChatEndsOnAllBrokers(t *testing.T) {
	for end := range 4 {
		t.Run(fmt.Sprint("by broker ", end), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, broadcast.WithChatIdle(idleHere))
				publisher := c.add(broadcast.WithChatIdle(idleHere)) // has no reader
				readers := []*broadcast.Subscriber[int]{c.join(0, "ann"), c.join(1, "bob"), c.join(2, "carl")}
				sleep(soon)
				for i := range 8 {
					require.NoError(t, c.brokers[i%4].Publish(t.Context(), chat, i))
				}
				sleep(soon)
				require.Equal(t, 0, take(t, readers[1], 1)[0])
				for _, s := range readers[1:] {
					require.NoError(t, s.Err())
				}
				require.NoError(t, c.brokers[end].EndChat(t.Context(), chat, errDone))
				for i, b := range c.brokers {
					requireEndElsewhere(t, b.Publish(t.Context(), chat, 9))
					requireEndElsewhere(t, b.EndChat(t.Context(), chat, errors.New("another")))
					sleep(soon)
					require.Empty(t, b.Devices(chat), "broker %d", i)
				}
				require.NotNil(t, publisher)
				for i, s := range append(readers, c.observers...) {
					got, want := drained(t, s), "0 1 2 3 4 5 6 7"
					switch {
					case i == 1:
						want = "1 2 3 4 5 6 7"
					case i >= 3: // with presence
						got = got[strings.Index(got, "0 "):]
					}
					require.Equal(t, want, got)
					require.Equal(t, readers[0].Position(), s.Position())
				}
			})
		})
	}
}

// add adds a broker without an observer.
func (c *cluster) add(opts ...broadcast.Option) *broadcast.Broker[int] {
	c.t.Helper()
	client := c.engine.Client()
	b, err := broadcast.New[int](append(opts, broadcast.WithEngine(client))...)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, b.Close()) })
	c.clients, c.brokers = append(c.clients, client), append(c.brokers, b)
	return b
}

// Promise 71: only the broker that was given the reason can know more of it than its text.
func TestTheReasonOfAnEndTravelsAsText(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		require.NoError(t, c.brokers[0].EndChat(t.Context(), chat, errDone))
		requireEnd(t, c.brokers[0].Publish(t.Context(), chat, 1))
		requireEndElsewhere(t, c.brokers[1].Publish(t.Context(), chat, 1))
		require.NoError(t, c.brokers[0].EndChat(t.Context(), "no reason", nil))
		for _, b := range c.brokers {
			require.Equal(t, broadcast.ErrEnded, b.Publish(t.Context(), "no reason", 1))
		}
	})
}

// Promise 71.
func TestOfConcurrentEndsOnAllBrokersOneReturnsNil(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for i := range 20 {
			name := fmt.Sprint("chat", i)
			var answers []<-chan result
			for j, b := range c.brokers {
				answers = append(answers, async(func() error {
					return b.EndChat(t.Context(), name, fmt.Errorf("by %d", j))
				}))
			}
			winner, texts := -1, make(map[string]bool)
			for j, answer := range answers {
				if err := inTime(t, answer).err; err == nil {
					require.Negative(t, winner)
					winner = j
				} else {
					texts[err.Error()] = true
				}
			}
			require.Equal(t, map[string]bool{fmt.Sprintf("%v: by %d", broadcast.ErrEnded, winner): true}, texts)
		}
	})
}

// Promise 71.
func TestWhoComesAfterAnEndGetsWhatIsKeptAndTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		opts := []broadcast.Option{broadcast.WithHistory(100, 0), broadcast.WithChatIdle(idleHere)}
		c := newCluster(t, 1, opts...)
		for i := range 4 {
			require.NoError(t, c.brokers[0].Publish(t.Context(), chat, i))
		}
		sleep(soon)
		take(t, c.observers[0], 2)
		middle := c.observers[0].Position()
		require.NoError(t, c.brokers[0].EndChat(t.Context(), chat, errDone))
		late := c.add(opts...)
		sleep(idleHere - 2*time.Second)
		for i, b := range c.brokers {
			all, err := b.Subscribe(chat, "ann", broadcast.Replay(10))
			require.NoError(t, err)
			require.True(t, all.Recovered())
			rest, err := b.Subscribe(chat, "bob", broadcast.Resume(middle))
			require.NoError(t, err)
			require.True(t, rest.Recovered())
			none, err := b.Subscribe(chat, "carl")
			require.NoError(t, err)
			requireEndElsewhere(t, none.Err())
			require.Equal(t, "0 1 2 3", drained(t, all), "broker %d", i)
			require.Equal(t, "2 3", drained(t, rest))
			require.Equal(t, all.Position(), none.Position())
			require.Equal(t, all.Position(), rest.Position())
		}
		d, ok, err := late.Last(t.Context(), chat)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, 3, d.Message)
	})
}

// Promise 71: the next chat begins with Seq 1, on all brokers, whatever their own WithChatIdle.
func TestTheNameOfAnEndedChatBecomesFreeOnAllBrokers(t *testing.T) {
	for first := range 3 {
		t.Run(fmt.Sprint("broker ", first, " is the first"), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				history := broadcast.WithHistory(100, 0)
				c := newCluster(t, 1, history, broadcast.WithChatIdle(idleHere))
				c.add(history, broadcast.WithChatIdle(idleHere/2))
				c.add(history, broadcast.WithChatIdle(2*idleHere))
				for i := range 4 {
					require.NoError(t, c.brokers[i%3].Publish(t.Context(), chat, i))
				}
				s, err := c.brokers[2].Subscribe(chat, "slow", broadcast.Replay(10), broadcast.WithBuffer(2))
				require.NoError(t, err)
				old := s.Position()
				require.NoError(t, c.brokers[0].EndChat(t.Context(), chat, errDone))
				sleep(idleHere - time.Second)
				for _, b := range c.brokers {
					requireEndElsewhere(t, b.Publish(t.Context(), chat, 5))
				}
				require.NoError(t, s.Err(), "it may take what it has")
				sleep(time.Second)
				requireEndElsewhere(t, s.Err())
				require.Equal(t, "2 3", drained(t, s), "what fits its buffer")
				for i := range c.brokers {
					require.NoError(t, c.brokers[(first+i)%3].Publish(t.Context(), chat, 10+i))
				}
				for _, b := range c.brokers {
					s, err := b.Subscribe(chat, "ann", broadcast.Replay(10))
					require.NoError(t, err)
					require.True(t, s.Recovered())
					all := takeAll(t, s)
					require.Equal(t, []int{10, 11, 12}, payloads(all))
					require.EqualValues(t, 1, all[0].Seq)
					require.False(t, all[0].Reset)
					require.NoError(t, s.Err())
					gone, err := b.Subscribe(chat, "bob", broadcast.Resume(old))
					require.NoError(t, err)
					require.False(t, gone.Recovered())
					require.Zero(t, b.Engine().Resets)
				}
			})
		})
	}
}

// Promise 71.
func TestEndChatWaitsForTheEngineAsPublishDoes(t *testing.T) {
	for name, row := range map[string]struct {
		opts []broadcast.Option
		end  func(client *memengine.Client, b *broadcast.Broker[int], e *memengine.Engine, cancel func())
		want []error
	}{
		"away": {
			end:  func(*memengine.Client, *broadcast.Broker[int], *memengine.Engine, func()) {},
			want: []error{broadcast.ErrAway},
		},
		"away, and refused": {
			opts: []broadcast.Option{broadcast.WithAway(broadcast.AwayRefuse)},
			end:  func(*memengine.Client, *broadcast.Broker[int], *memengine.Engine, func()) {},
			want: []error{broadcast.ErrAway},
		},
		"the context": {
			end:  func(_ *memengine.Client, _ *broadcast.Broker[int], _ *memengine.Engine, cancel func()) { cancel() },
			want: []error{context.Canceled},
		},
		"Close": {
			end:  func(_ *memengine.Client, b *broadcast.Broker[int], _ *memengine.Engine, _ func()) { _ = b.Close() },
			want: []error{broadcast.ErrBrokerClosed},
		},
		"the context, on its way": {
			end: func(client *memengine.Client, _ *broadcast.Broker[int], e *memengine.Engine, cancel func()) {
				e.SetFaults(memengine.Faults{LostAnswer: 1, Silence: 1})
				client.Restore()
				sleep(soon)
				cancel()
			},
			want: []error{broadcast.ErrUncertain, context.Canceled},
		},
		"nothing": {
			end: func(client *memengine.Client, _ *broadcast.Broker[int], _ *memengine.Engine, _ func()) {
				sleep(time.Second)
				client.Restore()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 1)
				b := c.add(row.opts...)
				sleep(soon)
				require.NoError(t, b.Publish(t.Context(), chat, 1))
				c.clients[1].Cut()
				sleep(soon)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				answer := async(func() error { return b.EndChat(ctx, chat, errDone) })
				synctest.Wait()
				row.end(c.clients[1], b, c.engine, cancel)
				got := inTime(t, answer).err
				if row.want == nil {
					require.NoError(t, got)
				}
				for _, err := range row.want {
					require.ErrorIs(t, got, err)
				}
				c.engine.SetFaults(memengine.Faults{})
				sleep(soon)
				if len(row.want) == 1 {
					require.NoError(t, c.brokers[0].Publish(t.Context(), chat, 2), "it never takes effect")
				} else {
					requireEndElsewhere(t, c.brokers[0].Publish(t.Context(), chat, 2))
				}
			})
		})
	}
}

// Promise 71: like a message, the end of a chat waits for the readers of its broker.
func TestAnEndWaitsForReadersWithoutRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		b := c.add(broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1), broadcast.WithPublishTimeout(time.Second))
		s := c.join(1, "ann")
		for i := range 3 {
			require.NoError(t, c.brokers[0].Publish(t.Context(), chat, i))
		}
		sleep(soon)
		require.Equal(t, broadcast.ErrOverloaded, b.EndChat(t.Context(), chat, nil))
		require.NoError(t, c.brokers[0].EndChat(t.Context(), chat, errDone))
		requireEndElsewhere(t, b.Publish(t.Context(), chat, 4))
		sleep(time.Minute)
		require.NoError(t, s.Err())
		require.Equal(t, []string{"ann"}, b.Devices(chat), "the end is behind the messages")
		require.Equal(t, "0 1 2", drained(t, s))
		require.Empty(t, b.Devices(chat))
	})
}

// Promise 71: an end that the engine hands over runs no code of the user that may hang.
func TestAnEndDoesNotWaitForUserCode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		j := &journal{level: slog.LevelDebug, on: func(what string) {
			if strings.Contains(what, "ended") {
				<-hang
			}
		}}
		b := newBroker[int](t, broadcast.WithEngine(noEngine{}), broadcast.WithLogger(slog.New(j)))
		h := handIn(t, b, chat)
		h.reset(1, 0)
		h.fed.Ready()
		s := h.join("ann")
		answer := async(func() error { h.fed.End(errDone, time.Now().Add(idleHere)); return nil })
		require.Zero(t, inTime(t, answer).took)
		requireEnd(t, s.Err())
	})
}

// Promise 71: what belongs to the next chat of the name is not for a chat that has ended.
func TestAChatThatHasEndedIsToldNothingMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0, broadcast.WithHistory(10, 0), broadcast.WithChatIdle(idleHere))
		h.feed(2)
		h.fed.End(errDone, time.Now().Add(idleHere))
		h.fed.Reset(2, 0)
		h.fed.Hole(1)
		require.Equal(t, 1, h.fed.Feed([][]byte{[]byte("3")}, time.Now()))
		h.fed.End(nil, time.Now())
		r := h.reader(h.b.join(chat, "ann", broadcast.Replay(10)), h.places[0])
		waysByHand["TryNext"](r, 10)
		require.EqualValues(t, 2, r.check().Delivered)
		requireEnd(t, r.Err())
		require.Equal(t, h.tail().position(t), r.Position())
		require.Zero(t, h.b.Stats().Resets)
	})
}

// Promise 71.
func TestAWaitForAPositionEndsWithTheChat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0)
		h.feed(2)
		ahead := place{epoch: 1, seq: 5}.position(t)
		resumed := async(func() error {
			s, err := h.b.Subscribe(chat, "ann", broadcast.Resume(ahead))
			if err == nil {
				requireEnd(t, s.Err())
			}
			return err
		})
		sleep(time.Millisecond)
		h.fed.End(errDone, time.Now().Add(idleHere))
		got := inTime(t, resumed)
		require.NoError(t, got.err)
		require.Equal(t, time.Millisecond, got.took)
	})
}
