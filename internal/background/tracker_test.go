package background

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWaitReturnsAtOnceWhenNobodyIsIn(t *testing.T) {
	var tracker Tracker
	tracker.Wait()
	tracker.Enter()
	tracker.Leave()
	tracker.Wait()
	require.Zero(t, tracker.Len())
}

func TestWaitReturnsWhenTheLastHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tracker Tracker
		start := time.Now()
		for i := range 3 {
			tracker.Enter()
			time.AfterFunc(time.Duration(i+1)*time.Second, tracker.Leave)
		}
		for range 2 { // who waits
			go tracker.Wait()
		}
		tracker.Wait()
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

func TestItMayBeEnteredWhileSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tracker Tracker
		start := time.Now()
		tracker.Enter()
		time.AfterFunc(time.Second, func() {
			tracker.Enter()
			tracker.Leave()
			time.AfterFunc(time.Second, tracker.Leave)
		})
		tracker.Wait()
		require.Equal(t, 2*time.Second, time.Since(start))
		tracker.Enter() // and used again
		time.AfterFunc(time.Second, tracker.Leave)
		tracker.Wait()
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}
