package broadcast_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// waysByHand are the ways to take at most n deliveries of those that there are.
var waysByHand = map[string]func(r *handed, n int){
	"Next": func(r *handed, n int) {
		for range n {
			ctx, cancel := context.WithTimeout(r.h.t.Context(), time.Millisecond)
			d, err := r.Next(ctx)
			cancel()
			if err != nil {
				return
			}
			r.got(d)
		}
	},
	"TryNext": func(r *handed, n int) {
		for range n {
			d, ok := r.TryNext()
			if !ok {
				return
			}
			r.got(d)
		}
	},
	"NextBatch": func(r *handed, n int) {
		ctx, cancel := context.WithTimeout(r.h.t.Context(), time.Millisecond)
		defer cancel()
		into := make([]broadcast.Delivery[int], n)
		taken, _ := r.NextBatch(ctx, into)
		for _, d := range into[:taken] {
			r.got(d)
		}
	},
	"TryNextBatch": func(r *handed, n int) {
		into := make([]broadcast.Delivery[int], n)
		for _, d := range into[:r.TryNextBatch(into)] {
			r.got(d)
		}
	},
	"All": func(r *handed, n int) {
		ctx, cancel := context.WithTimeout(r.h.t.Context(), time.Millisecond)
		defer cancel()
		for d := range r.All(ctx) {
			r.got(d)
			if n--; n == 0 {
				return
			}
		}
	},
	"Messages": func(r *handed, n int) {
		ctx, cancel := context.WithTimeout(r.h.t.Context(), time.Millisecond)
		defer cancel()
		for message := range r.Messages(ctx) {
			r.gotMessage(message)
			if n--; n == 0 {
				return
			}
		}
	},
	"Chan": func(r *handed, n int) {
		ch := r.Chan()
		for range n {
			synctest.Wait() // until it is offered
			select {
			case d, ok := <-ch:
				if !ok {
					return
				}
				synctest.Wait() // until it counts as taken
				r.got(d)
			default:
				return
			}
		}
	},
}

// samplings are all strategies, by name.
func samplings() map[string]broadcast.SubscribeOption {
	all := map[string]broadcast.SubscribeOption{
		"WithSampler": broadcast.WithSampler(func(b broadcast.Backlog[int], _ int) int { return b.Len() / 2 }),
	}
	for _, s := range everyStrategy {
		all[s.String()] = broadcast.WithSampling(s)
	}
	return all
}

// Whatever is fed, and in whatever way readers with any strategy read it, Seq, Missed, Reset,
// positions and counters are those of a list of all numbers.
func TestReadersCrossHolesAndResets(t *testing.T) {
	for strategy, sampling := range samplings() {
		for way, take := range waysByHand {
			t.Run(strategy+"/"+way, func(t *testing.T) {
				for seed := range uint64(reduced(20)) {
					bubble(t, func(t *testing.T) {
						crossMarks(t, rand.New(rand.NewPCG(seed, 0)), sampling, take)
					})
				}
			})
		}
	}
}

func crossMarks(t *testing.T, random *rand.Rand, sampling broadcast.SubscribeOption, take func(r *handed, n int)) {
	h := newHand(t, 1, random.Uint64N(4), broadcast.WithHistory(1000, 0))
	var readers []*handed
	join := func(opts ...broadcast.SubscribeOption) {
		opts = append(opts, sampling, broadcast.WithPresence(), broadcast.WithBuffer(1+random.IntN(6)))
		readers = append(readers, h.join(fmt.Sprint("own", len(readers)), opts...))
	}
	join()
	elsewhere := false
	for range 10 + random.IntN(40) {
		switch r := readers[random.IntN(len(readers))]; random.IntN(10) {
		case 0, 1, 2:
			if h.offer() {
				h.feed(1 + random.IntN(8))
			}
		case 3, 4:
			if h.offer() {
				h.hole(1 + random.Uint64N(3))
			}
		case 5:
			if h.offer() {
				h.reset(h.tail().epoch+1, random.Uint64N(12))
			}
		case 6:
			if elsewhere = !elsewhere; elsewhere {
				h.fed.Here("elsewhere")
			} else {
				h.fed.Gone("elsewhere")
			}
		case 7:
			if h.offer() && len(readers) < 4 {
				join()
			}
		default:
			take(r, 1+random.IntN(8))
		}
		synctest.Wait()
		for _, r := range readers {
			r.check()
		}
	}
	for !h.offer() {
		for _, r := range readers {
			take(r, 3)
		}
	}
	for _, r := range readers {
		for before := r.taken + 1; before != r.taken; {
			before = r.taken
			take(r, 50)
		}
		if stats := r.check(); r.Err() == nil {
			require.Zero(t, stats.Pending)
		}
	}
	h.checkResume()
	h.checkReplay()
}

// checkResume resumes at every number that there ever was.
func (h *hand) checkResume() {
	t, tail := h.t, h.tail()
	for _, p := range h.places {
		s := h.b.join(chat, "resumes", broadcast.Resume(p.position(t)), broadcast.WithBuffer(1000))
		r := h.reader(s, p)
		require.Equal(t, p.lost == tail.lost && p.resets == tail.resets, s.Recovered(), "at %+v of %+v", p, tail)
		require.Equal(t, tail.lost-p.lost, r.check().Missed)
		require.Equal(t, tail.index-p.index, s.Stats().Pending)
		waysByHand["TryNext"](r, 1000)
		require.Equal(t, tail.index-p.index, r.check().Delivered)
		require.NoError(t, s.Close())
	}
}

// checkReplay replays any number of messages.
func (h *hand) checkReplay() {
	t, tail := h.t, h.tail()
	all := 0
	for n := range int(tail.index) + 3 {
		s := h.b.join(chat, "replays", broadcast.Replay(n), broadcast.WithBuffer(1000))
		got := uint64(0)
		began := tail // just before the first message
		for range s.Stats().Pending {
			d, ok := s.TryNext()
			require.True(t, ok)
			at := h.of(d.Message)
			if got++; got == 1 {
				began = at
				require.Zero(t, d.Missed)
				require.False(t, d.Reset)
			}
			require.Equal(t, at.seq, d.Seq)
		}
		require.Equal(t, min(uint64(n), tail.index), got)
		complete := began.lost == tail.lost && began.resets == tail.resets
		if got < uint64(n) {
			complete = complete && tail.lost == 0 && tail.resets == 0 && h.places[0].seq == 0
		}
		require.Equal(t, complete, s.Recovered(), "replay of %d", n)
		if complete {
			all++
		}
		require.Zero(t, requireBooks(t, s).Pending)
	}
	require.Positive(t, all, "a replay of nothing is complete")
}

func TestAResetIsShownOnce(t *testing.T) {
	for way, take := range waysByHand {
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHand(t, 7, 0)
				r := h.join("ann")
				h.feed(8)
				h.reset(8, 0)
				h.feed(1)
				h.reset(9, 3)
				h.reset(10, 5)
				h.hole(2)
				h.feed(2)
				take(r, 100)
				require.EqualValues(t, 11, r.check().Delivered)
				require.EqualValues(t, 9, r.last.seq)
				require.EqualValues(t, 3, h.b.Stats().Resets)
			})
		})
	}
}

// A mark does not wake a reader: the next message says what was lost.
func TestAMarkIsShownByTheNextMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0)
		r := h.join("ann")
		h.feed(1)
		waysByHand["TryNext"](r, 5)
		h.hole(3)
		_, ok := r.TryNext()
		require.False(t, ok)
		require.EqualValues(t, 3, r.check().Missed, "it counts at once")
		require.EqualValues(t, 1, r.last.seq)
		require.EqualValues(t, 3, h.b.Stats().Missed)
		require.NoError(t, r.Close())
		require.EqualValues(t, 4, r.Stats().Head)
		h.hole(2)
		require.EqualValues(t, 4, r.Stats().Head, "it has ended")
		require.EqualValues(t, 3, requireBooks(t, r.Subscriber).Missed)
	})
}

// What is left after an end still has its numbers, and later marks do not concern it.
func TestWhatAnEndLeavesHasItsNumbers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 4)
		r := h.join("ann", broadcast.WithSampling(broadcast.Disconnect), broadcast.WithBuffer(3), broadcast.WithPatience(0))
		h.feed(1)
		h.hole(2)
		h.feed(1)
		h.reset(2, 0)
		h.feed(2)
		require.ErrorIs(t, r.Err(), broadcast.ErrSlow)
		h.hole(5)
		h.feed(1)
		waysByHand["TryNext"](r, 10)
		require.EqualValues(t, 3, r.check().Delivered)
		require.EqualValues(t, 2, r.Stats().Missed)
		require.Equal(t, r.last.position(t), r.Position())
	})
}

func TestAFeedWithoutRoomWaitsAsAPublisherWould(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"DropOldest": patience, "DropNewest": patience, "DropRandom": patience, "Disconnect": patience,
		"WithSampler": patience, "Block": time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHand(t, 1, 0)
				other := handIn(t, h.b, "other")
				other.reset(1, 0)
				other.fed.Ready()
				r := h.join("ann", samplings()[name], broadcast.WithBuffer(2))
				require.False(t, h.feed(4))
				require.EqualValues(t, 2, h.b.Stats().Accepted)
				require.Equal(t, 1, h.b.Stats().PublishersWaiting)
				require.True(t, other.feed(5), "another chat is not delayed")
				sleep(after - 1)
				require.False(t, h.offer())
				sleep(1)
				if name == "Block" {
					require.False(t, h.offer())
					waysByHand["TryNext"](r, 1)
					synctest.Wait()
				}
				require.Equal(t, name != "Block", h.offer())
				waysByHand["TryNext"](r, 10)
				synctest.Wait()
				require.True(t, h.offer())
				require.EqualValues(t, 9, h.b.Stats().Accepted)
				waysByHand["TryNext"](r, 10)
				stats := r.check()
				require.Zero(t, stats.Pending)
				require.Equal(t, name == "Block", stats.Delivered == 4)
			})
		})
	}
}

// Everybody who may free the feed does.
func TestAFeedThatWaitsGoesOn(t *testing.T) {
	for name, end := range map[string]func(b *auditedBroker[int], r *handed){
		"the reader ends":     func(_ *auditedBroker[int], r *handed) { _ = r.Close() },
		"the reader is ended": func(b *auditedBroker[int], _ *handed) { b.Kick(chat, "ann", nil) },
		"the reader moves":    func(b *auditedBroker[int], r *handed) { r.h.fed.Here("ann"); _ = r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHand(t, 1, 0)
				r := h.join("ann", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
				require.False(t, h.feed(3))
				sleep(time.Minute)
				require.False(t, h.offer())
				end(h.b, r)
				synctest.Wait()
				require.True(t, h.offer())
				require.EqualValues(t, 3, h.b.Stats().Accepted)
			})
		})
	}
}

func TestABrokerEndsWhileAFeedWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0)
		r := h.join("ann", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		require.False(t, h.feed(3))
		require.Zero(t, elapsed(func() { require.NoError(t, h.b.Close()) }))
		require.ErrorIs(t, r.Err(), broadcast.ErrBrokerClosed)
		require.EqualValues(t, 1, h.b.Stats().Accepted)
		require.Equal(t, 2, h.fed.Feed(h.rest, time.Now()), "nobody needs what comes now")
		require.EqualValues(t, 1, h.b.Stats().Accepted)
		require.Empty(t, broadcast.Leftovers(h.b.Broker))
	})
}

func TestAMessageThatCannotBeDecodedIsMissed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		var reports atomic.Int32
		j := &journal{on: func(what string) {
			if strings.Contains(what, "cannot be decoded") {
				reports.Add(1)
			}
			<-hang
		}}
		logged := newLoggedFeed(t, j)
		h := handIn(t, logged, chat)
		h.reset(1, 0)
		h.fed.Ready()
		r := h.join("ann")
		require.True(t, h.feed(1))
		require.Equal(t, 3, h.fed.Feed([][]byte{[]byte("error"), []byte("panic"), []byte("error")}, time.Now()), "a logger that hangs holds nobody up")
		synctest.Wait()
		require.EqualValues(t, 1, reports.Load(), "until the logger has returned")
		h.lose(3)
		require.True(t, h.feed(1))
		waysByHand["TryNext"](r, 10)
		require.EqualValues(t, 3, r.check().Missed)
		require.EqualValues(t, 2, h.b.Stats().Accepted)
	})
}

func newLoggedFeed(t *testing.T, j *journal) *auditedBroker[int] {
	t.Helper()
	return newBroker[int](t, broadcast.WithEngine(noEngine{}), broadcast.WithLogger(slog.New(j)), broadcast.WithCodec(
		func(int) ([]byte, error) { return nil, nil },
		func(data []byte) (n int, err error) {
			if string(data) == "panic" {
				panic("cannot read this")
			}
			_, err = fmt.Sscan(string(data), &n)
			return n, err
		}))
}

// What an engine must never do changes no number that was given.
func TestAnEngineThatContradictsItselfIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{}
		h := handIn(t, newLoggedFeed(t, j), chat)
		h.reset(7, 2)
		h.fed.Ready()
		r := h.join("ann")
		h.feed(1)
		h.fed.Reset(6, 0)
		synctest.Wait() // until it is logged
		h.fed.Hole(math.MaxUint64)
		synctest.Wait()
		h.feed(1)
		waysByHand["TryNext"](r, 5)
		require.EqualValues(t, 4, r.last.seq)
		r.check()
		require.Len(t, j.about("engine is inconsistent"), 2)
		require.Equal(t, chat, j.about("engine is inconsistent")[0].chat)
	})
}

// What does not return holds up neither the feed nor, at the end, Close.
func TestAFeedDoesNotWaitForUserCode(t *testing.T) {
	for name, sampler := range map[string]func(hang chan struct{}) func(broadcast.Backlog[int], int) int{
		"hangs": func(hang chan struct{}) func(broadcast.Backlog[int], int) int {
			return func(broadcast.Backlog[int], int) int { <-hang; return 0 }
		},
		"exits": func(chan struct{}) func(broadcast.Backlog[int], int) int {
			return func(broadcast.Backlog[int], int) int { runtime.Goexit(); return 0 }
		},
		"panics": func(chan struct{}) func(broadcast.Backlog[int], int) int {
			return func(broadcast.Backlog[int], int) int { panic("no choice") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				hang := make(chan struct{})
				j := &journal{on: func(string) { <-hang }}
				b := newBroker[int](t, broadcast.WithEngine(noEngine{}), broadcast.WithLogger(slog.New(j)))
				h := handIn(t, b, chat)
				h.reset(1, 0)
				h.fed.Ready()
				defer close(hang)
				joined := async(func() error {
					h.join("ann", broadcast.WithSampler(sampler(hang)), broadcast.WithBuffer(2))
					return nil
				})
				synctest.Wait()
				for range 40 {
					h.feed(1)
					sleep(patience)
					require.True(t, h.offer())
				}
				require.EqualValues(t, 40, h.b.Stats().Accepted)
				_ = joined
			})
		})
	}
}
