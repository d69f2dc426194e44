package broadcast_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// hooked is a context that calls a function when it is looked at. Its methods are the only code of the user that runs between the steps
// of a wait: with it a test makes something happen in the one moment in which a wake-up could be lost.
type hooked struct {
	context.Context
	done, err func() // nil: nothing
}

func (h hooked) Done() <-chan struct{} { call(h.done); return h.Context.Done() }
func (h hooked) Err() error            { call(h.err); return h.Context.Err() }

func call(f func()) {
	if f != nil {
		f()
	}
}

// Promise 25: the wake-up for the place has gone to the one that gives up.
func TestAPlaceFreedWhileAWaiterGivesUpGoesToTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		givesUp := false
		first := queue(hooked{ctx, nil, func() {
			if givesUp {
				s.TryNext()
			}
		}}, b, 10)[0]
		second := queue(t.Context(), b, 11)[0]
		sleep(patience)
		givesUp = true
		cancel()
		require.ErrorIs(t, (<-first).err, context.Canceled)
		require.NoError(t, (<-second).err)
		require.Equal(t, []int{11}, payloads(takeAll(t, s)))
	})
}

// Promise 26: not even between the wake-up of who waits and its look at the chat.
func TestNobodyOvertakesAWaiterThatWasWoken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		var overtaking error
		woken := false
		waiting := queue(hooked{t.Context(), nil, func() {
			if woken {
				overtaking = b.TryPublish(chat, 3)
			}
		}}, b, 2)[0]
		sleep(patience)
		woken = true
		take(t, s, 1)
		require.NoError(t, (<-waiting).err)
		require.ErrorIs(t, overtaking, broadcast.ErrOverloaded)
		require.Equal(t, []int{2}, payloads(takeAll(t, s)))
	})
}

// Promise 25: between the reader's look for a message and its sleep.
func TestAMessageThatComesJustBeforeAReaderSleepsIsNotSleptThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		for i := range 3 {
			d, err := s.Next(hooked{t.Context(), func() { b.publish(chat, i) }, nil})
			require.NoError(t, err)
			require.Equal(t, i, d.Message)
		}
	})
}

// The same for the end of the subscription.
func TestAnEndJustBeforeAReaderSleepsIsNotSleptThrough(t *testing.T) {
	for name, end := range map[string]func(*auditedBroker[int], *broadcast.Subscriber[int]){
		"closed":        func(_ *auditedBroker[int], s *broadcast.Subscriber[int]) { _ = s.Close() },
		"replaced":      func(b *auditedBroker[int], s *broadcast.Subscriber[int]) { b.join(s.Chat(), s.Device()) },
		"broker closed": func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) { _ = b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "device")
				_, err := s.Next(hooked{t.Context(), func() { end(b, s) }, nil})
				require.Error(t, err)
				require.Equal(t, s.Err(), err)
			})
		})
	}
}

// Promise 25: one, two, as many as a publisher wakes itself, and crowds that it leaves to others.
func TestEveryReaderThatWaitsIsWoken(t *testing.T) {
	for _, n := range []int{1, 2, 4, 5, 196, 197, 1_000} {
		t.Run(fmt.Sprintf("readers=%d", n), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				var readers []*broadcast.Subscriber[int]
				for i := range n {
					readers = append(readers, b.join(chat, fmt.Sprint(i)))
					read(b, readers[i])
				}
				for round := 1; round <= 3; round++ {
					synctest.Wait() // all of them sleep
					b.publish(chat, round)
					synctest.Wait()
					for _, s := range readers {
						require.EqualValues(t, round, s.Stats().Delivered, "reader %s in round %d", s.Device(), round)
					}
				}
			})
		})
	}
}
