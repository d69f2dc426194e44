package presence

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Devices leave, come back, or stay away until their grace is over.
func TestRandomAbsencesMatchAList(t *testing.T) {
	type leaver struct {
		device string
		until  time.Time
	}
	random := rand.New(rand.NewPCG(1, 2))
	var s State
	var want []leaver // in the order in which they left
	now := time.Unix(0, 0)
	for i := range 50_000 {
		now = now.Add(time.Duration(random.IntN(3)))
		device := fmt.Sprint(random.IntN([]int{3, 60}[i/1_000%2])) // few, so that there are none now and then
		at := slices.IndexFunc(want, func(l leaver) bool { return l.device == device })
		switch n := random.IntN(3); {
		case n == 0:
			require.Equal(t, at >= 0, s.Return(device))
			if at >= 0 {
				want = slices.Delete(want, at, at+1)
			}
		case n == 1 && at < 0:
			s.Leave(device, now.Add(100))
			want = append(want, leaver{device, now.Add(100)})
		default:
			device, ok := s.Expire(now)
			require.Equal(t, len(want) > 0 && !now.Before(want[0].until), ok)
			if ok {
				require.Equal(t, want[0].device, device)
				want = want[1:]
			}
		}
		require.Equal(t, len(want), s.Absent())
		if len(want) > 0 {
			require.Equal(t, want[0].until, s.Grace())
		} else {
			require.Zero(t, s.Grace())
			require.Empty(t, s.Leftovers())
		}
	}
}

func TestTheGraceIsOverAtItsEndAndNotBefore(t *testing.T) {
	var s State
	end := time.Unix(100, 0)
	s.Leave("ann", end)
	_, ok := s.Expire(end.Add(-1))
	require.False(t, ok)
	device, ok := s.Expire(end)
	require.True(t, ok)
	require.Equal(t, "ann", device)
	_, ok = s.Expire(end)
	require.False(t, ok)
}

// Those who come back in any order, while some stay away.
func TestAbsenceHoldsNoMoreThanTheDevicesNeedThatAreAbsentNow(t *testing.T) {
	const devices, stay = 100_000, 10
	names := many(devices)
	var s State
	before := heap()
	for _, device := range names {
		s.Leave(device, time.Unix(0, 0))
	}
	require.Greater(t, heap()-before, int64(devices*50), "the test can see it")
	rand.Shuffle(devices, func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, device := range names[stay:] {
		require.True(t, s.Return(device))
	}
	require.Less(t, heap()-before, int64(20<<10))
	require.Equal(t, stay, s.Absent())
	runtime.KeepAlive(names)
}

// heap returns how much memory is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
