package reference_test

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// What the flags of rapid are unless the command line or the environment says otherwise: as many
// checks as take a few seconds, each of so many operations on average. What fails is printed so
// that it can be pasted among the recorded ones, so there need be no files of it.
const defaultChecks, defaultSteps = 500, 60

func init() {
	for name, value := range map[string]any{"checks": defaultChecks, "steps": defaultSteps, "nofailfile": true} {
		if _, set := os.LookupEnv("RAPID_" + strings.ToUpper(name)); !set {
			_ = flag.Set("rapid."+name, fmt.Sprint(value))
		}
	}
}

// A random sequence of operations runs against the real broker, on the fake clock of a bubble, and
// against the reference; after every step all that can be seen of both must be equal: results,
// deliveries, positions, books, ends, and how long each call took. There is one such property for
// each strategy, and one in which readers have different ones.
func TestBrokerMatchesTheReference(t *testing.T) {
	ran := 0
	t.Run("strategy", func(t *testing.T) {
		for _, property := range []struct {
			name       string
			strategies []byte
		}{
			{"DropOldest", []byte{0}},
			{"DropNewest", []byte{1}},
			{"DropRandom", []byte{2}},
			{"Disconnect", []byte{3}},
			{"Block", []byte{4}},
			{"WithSampler", []byte{5, 5, 5, 6, 7, 8}},
			{"mixed", []byte{0, 1, 2, 3, 4, 5, 0, 4, 6, 7, 8}},
		} {
			t.Run(property.name, func(t *testing.T) {
				ran++
				t.Parallel()
				checkOperations(t, property.strategies)
			})
		}
	})
	checks, _ := strconv.Atoi(flag.Lookup("rapid.checks").Value.String())
	if all := ran == 7 && checks >= defaultChecks && !testing.Short(); all && !t.Failed() {
		reached.require(t)
	}
}

// checkOperations checks random sequences in which subscriptions have one of these strategies.
func checkOperations(t *testing.T, strategies []byte) {
	t.Helper()
	operations, attempts := sequences(strategies), 1
	rapid.Check(t, func(r *rapid.T) {
		ops := operations.Draw(r, "operations")
		failure := ""
		for i := 0; i < attempts && failure == ""; i++ {
			failure = run(t, ops)
		}
		if failure != "" {
			attempts = 100 // chance (DropRandom, the scheduler) may have a part in it, from here on rapid looks for a shorter sequence
			r.Log(failure)
			r.Fatal("the broker does not do what the reference does; the sequence, to be pasted into recorded, is above")
		}
	})
}

// Sequences that once failed.
func TestRecordedOperationsMatchTheReference(t *testing.T) {
	for _, r := range recorded {
		t.Run(r.name, func(t *testing.T) {
			if failure := run(t, r.ops); failure != "" {
				t.Error(failure)
			}
		})
	}
}

// FuzzBroker lets the fuzzer write the operations. Call it with -fuzzminimizetime 1x: which code a
// sequence reaches depends a little on the scheduler, so that minimizing what is interesting never
// ends.
func FuzzBroker(f *testing.F) {
	for seed := range 8 {
		f.Add(sequences([]byte{0, 1, 2, 3, 4, 5}).Example(seed).encode())
	}
	for _, r := range recorded {
		f.Add(r.ops.encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ops := decode(data)
		if len(ops) == 0 {
			return
		}
		if failure := run(t, ops); failure != "" {
			t.Fatalf("%#v\n%s", ops, failure)
		}
	})
}

// run runs a sequence and returns the first difference from the reference, with a log of what was
// done.
func run(t *testing.T, ops sequence) (failure string) {
	t.Helper()
	if failure, _ = runInBubble(t, ops, false); failure == "" {
		return ""
	}
	for range 100 {
		if again, log := runInBubble(t, ops, true); again != "" {
			if len(log) > 1<<14 {
				log = log[:1<<13] + "\n …\n" + log[len(log)-1<<13:]
			}
			return lines(log, again)
		}
	}
	return lines(failure, "(but not when it was run again)")
}

// runInBubble is run without or with a log.
func runInBubble(t *testing.T, ops sequence, logging bool) (failure, log string) {
	t.Helper()
	var m *model
	defer watchdog(ops)()
	defer func() {
		// A bubble in which everything is blocked for ever panics.
		if r := recover(); r != nil {
			failure = fmt.Sprint(r)
		}
		if m != nil {
			log = strings.Join(m.log, "\n")
		}
	}()
	synctest.Test(t, func(*testing.T) {
		m = newModel(ops[0].args, logging)
		failure = m.run(ops[1:])
	})
	return failure, ""
}

// watchdog ends the test binary, with the sequence, unless stop is called within a minute of real
// time: what spins, or waits for a mutex, does not end by itself, and the clock of its bubble
// stands still.
func watchdog(ops sequence) (stop func()) {
	timer := time.AfterFunc(time.Minute, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("this sequence hangs: %#v", ops))
	})
	return func() { timer.Stop() }
}
