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
