package broadcasttest_test

import (
	"context"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

// Tests of what fails only after the grace are in bubbles, where it costs no time.

func TestABrokerThatIsNotClosedIsALeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *broadcast.Broker[string]
		requireFailure(t, func(t testing.TB) {
			broadcasttest.CheckLeaks(t)
			var err error
			b, err = broadcast.New[string]()
			require.NoError(t, err)
		}, "goroutines are left inside of package broadcast:\n\t", " × started by a broker, which is not closed\n\t\t")
		require.NoError(t, b.Close())
	})
}

func TestAReaderStuckInItsLoopIsALeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var reading sync.WaitGroup
		requireFailure(t, func(t testing.TB) {
			b, s := room(t)
			reading.Go(func() {
				for range s.All(context.Background()) {
					handle(release)
				}
			})
			publish(t, b, "room", "one")
			synctest.Wait()
		}, "\t1 × in a call, or in the body of a loop over messages\n\t\t", "broadcasttest_test.handle\n\t\t\t", "leaks_test.go:")
		close(release)
		reading.Wait()
	})
}

func handle(release <-chan struct{}) { <-release }

func TestAPublisherThatWaitsIsALeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[string](t, broadcast.WithPublishTimeout(0))
		broadcasttest.Stall(t, b, "room", "ann", 0, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block), broadcast.WithStallTimeout(0))
		publish(t, b, "room", "one")
		requireFailure(t, func(t testing.TB) {
			broadcasttest.CheckLeaks(t)
			go func() { assert.ErrorIs(t, b.Publish(context.Background(), "room", "two"), broadcast.ErrBrokerClosed) }()
		}, "1 × in a call, or in the body", "Publish")
	})
}

// asked is a context that hangs when it is asked for its cause for the second time: by package
// context first, and then by the broker.
type asked struct {
	context.Context
	ended   context.Context
	release <-chan struct{}
	asked   atomic.Int32
}

func (a *asked) Value(any) any {
	if a.ended.Err() != nil && a.asked.Add(1) == 2 {
		handle(a.release)
	}
	return nil
}

func TestAContextThatHangsIsALeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		requireFailure(t, func(t testing.TB) {
			b := broadcasttest.New[string](t)
			ctx, cancel := context.WithCancel(context.Background())
			_, err := b.Subscribe("room", "ann", broadcast.Until(&asked{Context: ctx, ended: ctx, release: release}))
			require.NoError(t, err)
			cancel()
			synctest.Wait()
		}, "\t1 × started by a broker, which is not closed\n\t\t", "broadcasttest_test.handle\n\t\t\t")
		close(release)
	})
}

// The goroutine that starts the one that leaks may be gone.
func TestALeakIsFoundBehindGoroutinesThatHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := room(t)
		requireFailure(t, func(t testing.TB) {
			broadcasttest.CheckLeaks(t)
			var starting sync.WaitGroup
			starting.Go(func() {
				go func() {
					for range s.Messages(context.Background()) {
					}
				}()
			})
			starting.Wait()
		}, "1 × in a call, or in the body", "Messages")
		require.NoError(t, b.Close())
	})
}

func TestGoroutinesGetTimeToEnd(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		requirePass(t, func(t testing.TB) {
			b, s := room(t)
			go func() {
				for range s.All(context.Background()) {
					time.Sleep(20 * time.Millisecond)
				}
			}()
			publish(t, b, "room", "one")
		})
	})
}

func TestAReaderThatStaysTooLongIsALeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requireFailure(t, func(t testing.TB) {
			b, s := room(t)
			go func() {
				for range s.All(context.Background()) {
					time.Sleep(6 * time.Second)
				}
			}()
			publish(t, b, "room", "one")
			synctest.Wait()
		}, "goroutines are left")
		time.Sleep(time.Second)
	})
}

// On the real clock, and beside goroutines of the library that other tests have started, before and
// since.
func TestOtherTestsMayRunMeanwhile(t *testing.T) {
	before, err := broadcast.New[string]()
	require.NoError(t, err)
	defer func() { require.NoError(t, before.Close()) }()
	requirePass(t, func(first testing.TB) {
		b, s := room(first)
		go func() {
			for range s.All(context.Background()) {
			}
		}()
		requirePass(t, func(second testing.TB) {
			broadcasttest.CheckLeaks(second)
			publish(second, b, "room", "one")
		})
	})
}

func TestASecondBrokerOfATestDoesNotLookForThoseOfTheFirst(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		requirePass(t, func(t testing.TB) {
			broadcasttest.CheckLeaks(t)
			_, s := room(t)
			broadcasttest.New[int](t)
			go func() { // ends when the first broker is closed, which is last
				for range s.All(context.Background()) {
				}
			}()
			broadcasttest.CheckLeaks(t)
		})
	})
}

// What a test that has failed leaves behind is of no interest.
func TestLeaksAreNotLookedForWhenTheTestHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *broadcast.Broker[string]
		start := time.Now()
		failures := failuresOf(t, func(t testing.TB) {
			broadcasttest.CheckLeaks(t)
			b, _ = broadcast.New[string]()
			t.Errorf("other")
		})
		require.Equal(t, []string{"other"}, failures)
		require.Zero(t, time.Since(start))
		require.NoError(t, b.Close())
	})
}

func TestGoroutinesOutsideOfTheLibraryAreNoLeaks(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	requirePass(t, func(t testing.TB) {
		broadcasttest.CheckLeaks(t)
		go handle(release)
	})
}

func TestNoLabelStaysAfterTheTest(t *testing.T) {
	broadcasttest.CheckLeaks(t)
	requirePass(t, func(t testing.TB) {
		broadcasttest.CheckLeaks(t)
		t.Cleanup(func() { require.Contains(t, labels(), `"broadcasttest"`) })
	})
	fake := &fakeTest{TB: t}
	broadcasttest.CheckLeaks(fake)
	fake.clean()
	require.NotContains(t, labels(), `"broadcasttest"`)
}

func TestATestThatIsOverIsForgotten(t *testing.T) {
	fake := &fakeTest{TB: t}
	for range 2 {
		broadcasttest.CheckLeaks(fake)
		require.Len(t, fake.cleanups, 1)
		fake.clean()
	}
}

// labels returns the labels of the goroutine that calls it.
func labels() string {
	var profile strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, "broadcasttest_test.labels") {
			return group
		}
	}
	return ""
}
