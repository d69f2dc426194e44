package broadcast_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// The tests in this file hold the library to what it says of its costs, with bounds that a busy machine does not break. The benchmarks
// measure the same things exactly.

func TestAnIdleSubscriberCostsAtMost400Bytes(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own bytes would count")
	}
	small, large := idleBytes[[16]byte](t, oneChat), idleBytes[[1024]byte](t, oneChat)
	t.Logf("%.0f bytes, with messages of 1 KiB %.0f", small, large)
	require.LessOrEqual(t, small, 400.0)
	require.LessOrEqual(t, large, 400.0)
}

// For the strategy that needs to do nothing.
func TestAPublishCostsTheSameBesideOneStuckReaderAndTenThousand(t *testing.T) {
	if raceEnabled {
		t.Skip("not what a user pays")
	}
	few, many := besideStuck(t, 1), besideStuck(t, 10_000)
	const repetitions, calls = 25, 1_000
	var beside1, beside10k []time.Duration
	for range repetitions { // by turns, so that a machine that is slow for a while is so for both
		beside1 = append(beside1, repeat(calls, few))
		beside10k = append(beside10k, repeat(calls, many))
	}
	one, tenThousand := median(beside1)/calls, median(beside10k)/calls
	t.Logf("%v beside 1 stuck reader, %v beside 10 000", one, tenThousand)
	require.Less(t, tenThousand, 5*one+100*time.Nanosecond) // a look at each of them would take 10 µs and more
}

func repeat(n int, f func()) time.Duration {
	return elapsed(func() {
		for range n {
			f()
		}
	})
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// countAllocations returns how often f allocates. Nothing else may run.
func countAllocations(f func()) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs)
}

func TestPublishAllocatesAtMostOnceIn20Messages(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	for _, readers := range []int{0, 1, 100} {
		t.Run(fmt.Sprintf("readers=%d", readers), func(t *testing.T) {
			publish := besideStuck(t, readers)
			const messages = 10_000
			require.LessOrEqual(t, countAllocations(func() { repeat(messages, publish) })/messages, 0.05)
		})
	}
}

func TestADeliveryAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	const burst = 200
	into := make([]broadcast.Delivery[payload], 32)
	for name, read := range map[string]func(s *broadcast.Subscriber[payload]) error{
		"Next": func(s *broadcast.Subscriber[payload]) (err error) {
			for range burst {
				_, err = s.Next(t.Context())
			}
			return err
		},
		"TryNext": func(s *broadcast.Subscriber[payload]) error {
			for range burst {
				s.TryNext()
			}
			return nil
		},
		"NextBatch": func(s *broadcast.Subscriber[payload]) (err error) {
			for n := 0; n < burst && err == nil; {
				var more int
				more, err = s.NextBatch(t.Context(), into)
				n += more
			}
			return err
		},
		"All": func(s *broadcast.Subscriber[payload]) error {
			for d := range s.All(t.Context()) {
				if d.Seq%burst == 0 {
					break
				}
			}
			return nil
		},
		"Messages": func(s *broadcast.Subscriber[payload]) error {
			n := 0
			for range s.Messages(t.Context()) {
				if n++; n == burst {
					break
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker[payload](t)
			s := b.join(chat, "device")
			const bursts = 50
			var allocations float64
			for range bursts {
				b.publish(chat, make([]payload, burst)...)
				allocations += countAllocations(func() { require.NoError(t, read(s)) })
				require.Zero(t, requireBooks(t, s).Pending)
			}
			require.Less(t, allocations/(bursts*burst), 0.05) // a loop has a few, its deliveries none
		})
	}
}
