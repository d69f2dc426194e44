package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

func TestAwaySaysWhatPublishDoesWithoutTheEngine(t *testing.T) {
	for name, row := range map[string]struct {
		away broadcast.Away
		took time.Duration
	}{
		"AwayWait":   {broadcast.AwayWait, 3 * time.Second},
		"AwayRefuse": {broadcast.AwayRefuse, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := memengine.New(1, time.Millisecond, 0)
				client := e.Client()
				b, err := broadcast.New[int](broadcast.WithEngine(client), broadcast.WithAway(row.away), broadcast.WithPublishTimeout(3*time.Second))
				require.NoError(t, err)
				defer b.Close()
				s, err := b.Subscribe(chat, "ann")
				require.NoError(t, err)
				require.NoError(t, b.Publish(t.Context(), chat, 1))
				client.Cut()
				sleep(soon)
				require.False(t, b.Engine().Up)
				answer := async(func() error { return b.Publish(t.Context(), chat, 2) })
				got := inTime(t, answer)
				require.Equal(t, broadcast.ErrAway, got.err)
				require.Equal(t, row.took, got.took)
				require.NoError(t, s.Err(), "readers stay")
				require.EqualValues(t, 1, b.Stats().Rejected)
				client.Restore()
				sleep(soon)
				require.True(t, b.Engine().Up)
				require.NoError(t, b.Publish(t.Context(), chat, 3))
				sleep(soon)
				require.Equal(t, "1 3", told(s), "what was refused is never delivered")
			})
		})
	}
}

func TestAMessageWaitsForTheEngineToComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		client := e.Client()
		b, err := broadcast.New[int](broadcast.WithEngine(client))
		require.NoError(t, err)
		defer b.Close()
		s, err := b.Subscribe(chat, "ann")
		require.NoError(t, err)
		client.Cut()
		sleep(soon)
		answer := async(func() error { return b.Publish(t.Context(), chat, 1) })
		sleep(time.Second)
		client.Restore()
		require.NoError(t, inTime(t, answer).err)
		sleep(soon)
		require.Equal(t, "1", told(s))
	})
}

// A Publish that ends while its message is on the way returns at once, and says why.
func TestUncertainWrapsTheReason(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(b *broadcast.Broker[int], cancel func())
		want error
	}{
		"the context": {func(_ *broadcast.Broker[int], cancel func()) { cancel() }, context.Canceled},
		"Close":       {func(b *broadcast.Broker[int], _ func()) { _ = b.Close() }, broadcast.ErrBrokerClosed},
		"the timeout": {func(*broadcast.Broker[int], func()) { sleep(time.Second) }, broadcast.ErrOverloaded},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := memengine.New(1, time.Millisecond, 0)
				defer e.Wait()
				b, err := broadcast.New[int](broadcast.WithEngine(e.Client()), broadcast.WithPublishTimeout(time.Second))
				require.NoError(t, err)
				defer b.Close()
				require.NoError(t, b.Publish(t.Context(), chat, 1))
				e.SetFaults(memengine.Faults{LostAnswer: 1, Silence: 1})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				answer := async(func() error { return b.Publish(ctx, chat, 2) })
				sleep(10 * time.Millisecond)
				row.end(b, cancel)
				got := inTime(t, answer)
				require.ErrorIs(t, got.err, broadcast.ErrUncertain)
				require.ErrorIs(t, got.err, row.want)
				require.LessOrEqual(t, got.took, time.Second)
				require.Len(t, e.Order(chat), 3, "the record that begins the epoch, and both messages")
				require.EqualValues(t, 1, b.Stats().Rejected)
				require.EqualValues(t, 1, b.Engine().Uncertain)
			})
		})
	}
}

func TestShutdownEndsWithItsContextThoughTheEngineIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		client := e.Client()
		b, err := broadcast.New[int](broadcast.WithEngine(client), broadcast.WithPublishTimeout(0))
		require.NoError(t, err)
		defer b.Close()
		s, err := b.Subscribe(chat, "ann")
		require.NoError(t, err)
		client.Cut()
		sleep(soon)
		published := async(func() error { return b.Publish(t.Context(), chat, 1) })
		sleep(soon)
		require.NoError(t, b.Shutdown(t.Context()), "nothing is in flight")
		require.Equal(t, broadcast.ErrBrokerClosed, inTime(t, published).err)
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
	})
}

// Those in flight have until the context of Shutdown ends, or Close is called.
func TestShutdownWaitsForMessagesInFlight(t *testing.T) {
	for name, end := range map[string]func(b *broadcast.Broker[int], cancel func()){
		"the answer":  nil,
		"the context": func(_ *broadcast.Broker[int], cancel func()) { cancel() },
		"Close":       func(b *broadcast.Broker[int], _ func()) { _ = b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := memengine.New(1, time.Millisecond, 0)
				defer e.Wait()
				b, err := broadcast.New[int](broadcast.WithEngine(e.Client()), broadcast.WithPublishTimeout(0))
				require.NoError(t, err)
				defer b.Close()
				s, err := b.Subscribe(chat, "ann")
				require.NoError(t, err)
				require.NoError(t, b.Publish(t.Context(), chat, 1))
				e.SetFaults(memengine.Faults{LostRequest: 1, Silence: 1})
				published := async(func() error { return b.Publish(t.Context(), chat, 2) })
				sleep(10 * time.Millisecond)
				e.SetFaults(memengine.Faults{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				shut := async(func() error { return b.Shutdown(ctx) })
				sleep(10 * time.Millisecond)
				require.ErrorIs(t, b.Publish(t.Context(), chat, 3), broadcast.ErrBrokerClosed)
				if end != nil {
					end(b, cancel)
					require.ErrorIs(t, inTime(t, published).err, broadcast.ErrUncertain)
					require.Error(t, inTime(t, shut).err)
					return
				}
				require.NoError(t, inTime(t, published).err, "it was appended again")
				sleep(soon)
				require.Equal(t, "1 2", told(s))
				require.NoError(t, inTime(t, shut).err)
			})
		})
	}
}

// Only the chat of a stuck reader is held up until it reads, or the context of Shutdown ends.
func TestAStuckReaderDelaysTheShutdownOfItsOwnChatAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		brokers := nodes(t, e, 2, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block))
		var stuck, free []*broadcast.Subscriber[string]
		for c := range 10 { // many, because the order of chats is random
			name := fmt.Sprint("stuck", c)
			s, err := brokers[0].Subscribe(name, "ann")
			require.NoError(t, err)
			stuck = append(stuck, s)
			for i := range 3 {
				require.NoError(t, brokers[1].Publish(t.Context(), name, strconv.Itoa(i)))
			}
			s, err = brokers[0].Subscribe(fmt.Sprint("free", c), "ann")
			require.NoError(t, err)
			free = append(free, s)
		}
		sleep(soon)
		answer := async(func() error { return brokers[0].Shutdown(t.Context()) })
		sleep(soon)
		for _, s := range free {
			require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
		}
		sleep(time.Second)
		for _, s := range stuck {
			require.NoError(t, s.Err())
			var got []string
			for d := range s.All(t.Context()) {
				got = append(got, d.Message)
			}
			require.Equal(t, []string{"0", "1", "2"}, got)
		}
		require.NoError(t, inTime(t, answer).err)
	})
}

func TestCallsThatAnEngineCannotServeAreInvalid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		b, err := broadcast.New[int](broadcast.WithEngine(e.Client()))
		require.NoError(t, err)
		defer b.Close()
		require.ErrorIs(t, b.TryPublish(chat, 1), broadcast.ErrInvalid)
		require.EqualValues(t, 1, b.Stats().Rejected)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.TryPublish(chat, 1), broadcast.ErrBrokerClosed)
		require.ErrorIs(t, b.Publish(t.Context(), chat, 1), broadcast.ErrBrokerClosed)
	})
}

func TestTheCodecTurnsMessagesIntoBytesAndBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		codec := broadcast.WithCodec(
			func(n int) ([]byte, error) { return strconv.AppendInt(nil, int64(n), 2), nil },
			func(data []byte) (int, error) {
				n, err := strconv.ParseInt(string(data), 2, 0)
				return int(n), err
			})
		plain, err := broadcast.New[int](broadcast.WithEngine(e.Client()))
		require.NoError(t, err)
		defer plain.Close()
		coded, err := broadcast.New[int](broadcast.WithEngine(e.Client()), codec)
		require.NoError(t, err)
		defer coded.Close()
		s, err := coded.Subscribe(chat, "ann")
		require.NoError(t, err)
		require.NoError(t, plain.Publish(t.Context(), chat, 9)) // which it cannot read
		require.NoError(t, coded.Publish(t.Context(), chat, 9))
		d, err := s.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, []any{9, uint64(2), uint64(1)}, []any{d.Message, d.Seq, d.Missed})
		records := e.Order(chat)
		require.Equal(t, "1001", string(records[len(records)-1].Batch[0]))
	})
}

func TestAMessageThatCannotBeEncodedIsRejected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 0)
		errCodec := errors.New("no code for this")
		b, err := broadcast.New[int](broadcast.WithEngine(e.Client()), broadcast.WithCodec(
			func(n int) ([]byte, error) {
				switch n {
				case 1:
					return nil, errCodec
				case 2:
					panic(errCodec)
				}
				runtime.Goexit()
				return nil, nil
			}, func([]byte) (int, error) { return 0, nil }))
		require.NoError(t, err)
		defer b.Close()
		err = b.Publish(t.Context(), chat, 1)
		require.ErrorIs(t, err, broadcast.ErrInvalid)
		require.ErrorIs(t, err, errCodec)
		require.PanicsWithValue(t, errCodec, func() { _ = b.Publish(t.Context(), chat, 2) })
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.Publish(t.Context(), chat, 3)
		}()
		<-done
		require.EqualValues(t, 3, b.Stats().Rejected)
		require.Empty(t, e.Order(chat))
	})
}

func TestBadOptionsOfAnEngineAreNamed(t *testing.T) {
	for want, opt := range map[string]broadcast.Option{
		"nil engine":                            broadcast.WithEngine(nil),
		"nil function of a codec":               broadcast.WithCodec[int](nil, nil),
		"unknown Away(7)":                       broadcast.WithAway(7),
		"codec is not for messages of type int": broadcast.WithCodec(func(string) ([]byte, error) { return nil, nil }, func([]byte) (string, error) { return "", nil }),
	} {
		_, err := broadcast.New[int](opt)
		require.ErrorIs(t, err, broadcast.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
}

func TestABrokerWithoutAnEngineHasNoCountersOfOne(t *testing.T) {
	var none *broadcast.Broker[int]
	require.Zero(t, none.Engine())
	require.Zero(t, new(broadcast.Broker[int]).Engine())
	bubble(t, func(t *testing.T) {
		require.Zero(t, newBroker[int](t).Engine())
		e := memengine.New(1, time.Millisecond, 0)
		start := time.Now()
		b, err := broadcast.New[int](broadcast.WithEngine(e.Client()))
		require.NoError(t, err)
		require.Equal(t, broadcast.EngineStats{Since: start}, b.Engine())
		sleep(soon)
		require.True(t, b.Engine().Up)
		require.NoError(t, b.Close())
		require.False(t, b.Engine().Up)
	})
}

// What each broker has missed is exact, and every broker sees that the engine has lost its memory.
func TestWhatTheEngineLosesIsMissed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const keep = 3
		e := memengine.New(1, time.Millisecond, keep)
		client := e.Client()
		far, err := broadcast.New[int](broadcast.WithEngine(client))
		require.NoError(t, err)
		defer far.Close()
		near, err := broadcast.New[int](broadcast.WithEngine(e.Client()))
		require.NoError(t, err)
		defer near.Close()
		s, err := far.Subscribe(chat, "ann")
		require.NoError(t, err)
		require.NoError(t, near.Publish(t.Context(), chat, 1))
		sleep(soon)
		client.Cut()
		for i := range 10 {
			require.NoError(t, near.Publish(t.Context(), chat, 2+i))
		}
		client.Restore()
		sleep(time.Second)
		var got []string
		next := func() {
			d, err := s.Next(t.Context())
			require.NoError(t, err)
			got = append(got, fmt.Sprint(d.Message, " at ", d.Seq, " missed ", d.Missed, " ", d.Reset))
		}
		for range 1 + keep {
			next()
		}
		require.EqualValues(t, 10-keep, far.Engine().Lost)
		e.Restart()
		sleep(time.Second)
		require.NoError(t, near.Publish(t.Context(), chat, 99))
		next()
		require.Equal(t, []string{
			"1 at 1 missed 0 false", "9 at 9 missed 7 false", "10 at 10 missed 0 false", "11 at 11 missed 0 false",
			"99 at 1 missed 0 true",
		}, got)
		require.EqualValues(t, 1, far.Engine().Resets)
		require.EqualValues(t, 1, far.Stats().Resets)
		require.Equal(t, broadcast.SubscriberStats{Delivered: 5, Missed: 7, Head: 12}, requireBooks(t, s))
	})
}
