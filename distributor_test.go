package broadcast

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/internal/parking"
)

// parkedCrowd returns a crowd that is the distributor's, with all parked.
func parkedCrowd(rows int) (c *crowd, spots []*parking.Spot) {
	c = new(crowd)
	for c.Crowd() < rows {
		spot := c.NewSpot()
		spot.Park()
		spots = append(spots, spot)
	}
	return c, spots
}

// tokens returns how many have been woken, and lets them wait again.
func tokens(spots []*parking.Spot) (n int) {
	for _, spot := range spots {
		select {
		case <-spot.Woken():
			n++
		default:
		}
	}
	return n
}

func TestACrowdThatIsWantedDuringARoundGetsAnother(t *testing.T) {
	d := new(distributor) // without workers: the test is one
	c, spots := parkedCrowd(3 * inlineRows)
	d.wake(c)
	d.wake(c)
	require.Len(t, d.queue, 1, "a crowd is in the queue once")
	turn, ok := d.pop()
	require.True(t, ok)
	woken := 0
	for ; woken <= inlineRows*64; woken += tokens(spots[woken:]) {
		require.True(t, turn.wakeSome())
	}

	for _, spot := range spots[:woken] { // they took something, and wait again when the next message comes
		spot.Park()
	}
	d.wake(c)
	require.Empty(t, d.queue, "its round goes on")
	require.Zero(t, tokens(spots), "it is too large for the publisher")
	for turn.wakeSome() {
	}
	require.Equal(t, len(spots), tokens(spots))
	require.Zero(t, c.Crowd())

	d.wake(c)
	require.Empty(t, d.queue, "nobody is parked")
	for _, spot := range spots {
		spot.Park()
	}
	d.wake(c)
	require.Len(t, d.queue, 1, "it is not served for ever")
}

func TestWhoParksAgainDuringARoundIsLeftInPeace(t *testing.T) {
	d := new(distributor) // without workers: the test is one
	c, spots := parkedCrowd(3 * inlineRows)
	d.wake(c)
	turn, ok := d.pop()
	require.True(t, ok)
	require.True(t, turn.wakeSome())
	woken := tokens(spots)
	for _, spot := range spots[:woken] {
		spot.Park()
	}
	for turn.wakeSome() {
	}
	require.Equal(t, len(spots)-woken, tokens(spots), "there was no message for those who had parked again")
}
