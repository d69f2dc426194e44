package broadcasttest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// No subscription has books that do not balance, so that the words for it are shown here.
func TestUnbalancedBooksAreFound(t *testing.T) {
	require.Equal(t, "the books account for 9 of 10 messages",
		unbalanced(broadcast.SubscriberStats{Joined: 5, Head: 15, Delivered: 1, Missed: 2, Pending: 4, Discarded: 2}))
	require.Empty(t, unbalanced(broadcast.SubscriberStats{Joined: 5, Head: 15, Delivered: 1, Missed: 2, Pending: 4, Discarded: 3}))
}

// Nor has a broker totals that are not the sums.
func TestUnequalTotalsAreFound(t *testing.T) {
	sum := broadcast.Stats{}
	addTo(&sum, broadcast.SubscriberStats{Delivered: 1, Missed: 2, Pending: 3, Discarded: 4}, true)
	addTo(&sum, broadcast.SubscriberStats{Delivered: 5, Missed: 6, Discarded: 7}, false)
	got := broadcast.Stats{Subscribers: 1, Delivered: 6, Missed: 8, Pending: 3, Discarded: 11}
	require.Equal(t, got, sum)
	got.Accepted, got.Rejected = 20, 2
	require.Empty(t, unequal(got, sum, 22))
	require.NotEmpty(t, unequal(got, sum, 23))
	for name, change := range map[string]func(*broadcast.Stats){
		"subscribers": func(s *broadcast.Stats) { s.Subscribers++ },
		"delivered":   func(s *broadcast.Stats) { s.Delivered++ },
		"missed":      func(s *broadcast.Stats) { s.Missed++ },
		"pending":     func(s *broadcast.Stats) { s.Pending++ },
		"discarded":   func(s *broadcast.Stats) { s.Discarded++ },
	} {
		wrong := got
		change(&wrong)
		require.NotEmpty(t, unequal(wrong, sum, 22), name)
	}
}

func TestAStackIsRead(t *testing.T) {
	s := parseStack(`2 @ 0x47a02e 0x40c7e5
# labels: {"broadcasttest":"7"}
#	0x47a02d	sync.(*Cond).Wait+0x4c			/a folder/sync/cond.go:71
#	0x40c7e4	example.com/x.(*Y[...]).run+0x1ec	/a folder/x/y.go:12
`)
	require.Equal(t, stack{
		number: "2",
		labels: `{"broadcasttest":"7"}` + "\n",
		frames: []frame{{"sync.(*Cond).Wait", "/a folder/sync/cond.go:71"}, {"example.com/x.(*Y[...]).run", "/a folder/x/y.go:12"}},
	}, s)
	require.False(t, s.inside())
}
