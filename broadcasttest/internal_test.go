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
