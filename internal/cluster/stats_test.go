package cluster_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// shut is a driver whose Open fails while it has an error.
type shut struct {
	*memengine.Client

	mu   sync.Mutex
	err  error
	sink engine.Sink
}

func (s *shut) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	if err := s.open(sink); err != nil {
		return nil, err
	}
	return s.Client.Open(ctx, sink)
}

func (s *shut) open(sink engine.Sink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink = sink
	return s.err
}

// fail makes Open return an error, or succeed.
func (s *shut) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// failed tells the sink of an error.
func (s *shut) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink.Failed(err)
}

// Promise 60.
func TestTheReasonIsTheLastErrorWhileTheEngineIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver := &shut{Client: memengine.New(1, time.Millisecond, 0).Client(), err: errors.New("wrong password")}
		n := cluster.Start(driver, cluster.Config{})
		defer n.Close(t.Context())
		reason := func() string {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			s := n.Stats()
			require.Equal(t, s.Reason == "", s.Up)
			return s.Reason
		}
		require.Equal(t, "wrong password", reason())
		driver.fail(errors.Join(errors.New("no time"), errors.New("no answer")))
		require.Equal(t, "no time; no answer", reason())
		driver.fail(nil)
		require.Empty(t, reason())

		driver.Cut()
		time.Sleep(time.Second)
		require.False(t, n.Stats().Up)
		require.Empty(t, n.Stats().Reason) // nobody has said why
		driver.failed(errors.New("connection lost"))
		driver.failed(errors.New("host not found"))
		require.Equal(t, "host not found", reason())
		driver.Restore()
		require.Empty(t, reason())
		driver.Cut()
		time.Sleep(time.Second)
		require.False(t, n.Stats().Up)
		require.Empty(t, n.Stats().Reason) // the error was of the time before
	})
}

// Promise 60. A node that is closed while it opens the engine has not failed to reach it.
func TestCloseIsNoReasonForTheEngineToBeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := cluster.Start(memengine.New(1, time.Second, 0).Client(), cluster.Config{})
		time.Sleep(time.Millisecond)
		n.Close(t.Context())
		require.Empty(t, n.Stats().Reason)
	})
}
