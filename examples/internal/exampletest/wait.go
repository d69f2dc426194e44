// Package exampletest is what the tests of the examples have in common: waiting for what must
// happen, requests and their answers, and servers that run until the test ends. What fails fails
// the test. Only tests import it.
package exampletest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Within is how long a test waits for what must happen: far longer than that takes on a busy
// machine.
const Within = 20 * time.Second

// Soon returns when cond has become true, or fails the test Within; what says what did not happen,
// and state, if given, what is there instead.
func Soon(t testing.TB, what string, cond func() bool, state ...func() string) {
	t.Helper()
	for deadline := time.Now().Add(Within); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().Before(deadline) {
			continue
		}
		for _, s := range state {
			what += "\n" + s()
		}
		require.FailNow(t, "has not happened: "+what)
	}
}

// Receive returns what comes next from a channel, the zero value if that is its end, or fails the
// test Within.
func Receive[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(Within):
		require.FailNow(t, "has not come: "+what)
	}
	return v
}

// Deadline returns a context that ends Within, for calls that must return before that.
func Deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Within)
	t.Cleanup(cancel)
	return ctx
}
