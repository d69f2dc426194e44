package broadcasttest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeTest is a test that may fail: it keeps what is said about that. It has what the helpers and
// examples call.
type fakeTest struct {
	testing.TB // not for calls
	mu         sync.Mutex
	failures   []string
	cleanups   []func()
}

// failuresOf runs f as a test, with its cleanups, and returns what it fails with.
func failuresOf(t testing.TB, f func(t testing.TB)) []string {
	fake := &fakeTest{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer fake.clean()
		f(fake)
	}()
	<-done
	fake.mu.Lock()
	defer fake.mu.Unlock()
	return fake.failures
}

// requireFailure fails unless f as a test fails once, with these texts somewhere in what it says.
func requireFailure(t testing.TB, f func(t testing.TB), texts ...string) {
	t.Helper()
	failures := failuresOf(t, f)
	require.Len(t, failures, 1)
	for _, text := range texts {
		require.Contains(t, failures[0], text)
	}
}

// requirePass fails unless f as a test passes.
func requirePass(t testing.TB, f func(t testing.TB)) {
	t.Helper()
	require.Empty(t, failuresOf(t, f))
}

func (t *fakeTest) clean() {
	for len(t.cleanups) > 0 {
		last := len(t.cleanups) - 1
		f := t.cleanups[last]
		t.cleanups = t.cleanups[:last]
		f()
	}
}

func (t *fakeTest) Helper() {}

func (t *fakeTest) Context() context.Context { return context.Background() }

func (t *fakeTest) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *fakeTest) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, fmt.Sprintf(format, args...))
}

func (t *fakeTest) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	t.FailNow()
}

func (t *fakeTest) FailNow() { runtime.Goexit() } // Errorf came before

func (t *fakeTest) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures) > 0
}

// bothClocks runs a test on the real clock and in a bubble.
func bothClocks(t *testing.T, test func(t *testing.T)) {
	t.Run("real clock", test)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
}

// publish publishes messages that must all be accepted.
func publish[T any](t testing.TB, b *broadcast.Broker[T], chat string, messages ...T) {
	t.Helper()
	for _, m := range messages {
		require.NoError(t, b.Publish(t.Context(), chat, m))
	}
}

// room returns a broker and its subscription of ann to the chat room.
func room(t testing.TB, opts ...broadcast.SubscribeOption) (*broadcast.Broker[string], *broadcast.Subscriber[string]) {
	t.Helper()
	b := broadcasttest.New[string](t)
	return b, broadcasttest.Subscribe(t, b, "room", "ann", opts...)
}

// lines joins the lines of a text.
func lines(lines ...string) string { return strings.Join(lines, "\n") }
