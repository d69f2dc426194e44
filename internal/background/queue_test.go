package background

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type job struct {
	Appointment
	name string
}

func TestRandomOperationsMatchAMapOfWhenTheyAreDue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(0, 0)
	var q Queue[*job]
	due := make(map[*job]time.Time)
	jobs := make([]*job, 600)
	for i := range jobs {
		jobs[i] = new(job)
	}
	for range 20_000 {
		j := jobs[random.IntN(len(jobs))]
		if _, in := due[j]; in && random.IntN(3) == 0 {
			q.Remove(j)
			delete(due, j)
		} else {
			due[j] = start.Add(time.Duration(1 + random.IntN(1000)))
			q.Set(j, due[j])
		}
		require.Equal(t, due[j], j.Due())
		require.Equal(t, len(due), q.Len())
		if q.Len() > 0 {
			first := q.First()
			require.Equal(t, due[first], first.Due())
		}
	}
	for last := start; q.Len() > 0; {
		first := q.First()
		require.False(t, first.Due().Before(last))
		last = first.Due()
		require.Equal(t, due[first], last)
		delete(due, first)
		q.Remove(first)
	}
	require.Empty(t, due)
}

func TestWhatIsInNoQueueIsNotDue(t *testing.T) {
	var q Queue[*job]
	var j job
	require.Zero(t, j.Due())
	q.Set(&j, time.Unix(1, 0))
	require.Equal(t, time.Unix(1, 0), j.Due())
	q.Set(&j, time.Unix(2, 0))
	require.Equal(t, 1, q.Len())
	q.Remove(&j)
	require.Zero(t, j.Due())
	require.Zero(t, q.Len())
}
