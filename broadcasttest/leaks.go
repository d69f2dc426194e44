package broadcasttest

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"reflect"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
)

// CheckLeaks fails the test if goroutines are still inside package broadcast when it ends: those of
// a broker that was not closed, those that wait for a message or for room, and those in a loop over
// messages. It checks in a cleanup, and allows goroutines that are about to end 5 seconds. It does
// not check if the test has already failed.
//
// Call it first, from the goroutine that runs the test, so that other cleanups run before the
// check. It considers only goroutines started after the call by the test, directly or indirectly.
// Tests may therefore run in parallel, and older goroutines may stay. [New] calls CheckLeaks too;
// further calls in the same test have no effect.
//
// It recognizes goroutines by a pprof label that each inherits from the one that starts it. A
// goroutine that replaces its labels, as [pprof.Do] does for a while, is not found.
func CheckLeaks(t testing.TB) {
	t.Helper()
	if _, checked := checks.LoadOrStore(t, true); checked {
		return
	}
	id := strconv.FormatUint(lastCheck.Add(1), 10)
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(label, id)))
	t.Cleanup(func() {
		defer checks.Delete(t)
		defer pprof.SetGoroutineLabels(context.Background())
		if t.Failed() {
			return
		}
		if left := awaitNone(id); len(left) > 0 {
			t.Errorf("goroutines are left inside of package broadcast:\n%s", strings.Join(left, "\n"))
		}
	})
}

// label is the key of the pprof label; its value is the number of the check.
const label = "broadcasttest"

// grace is how long goroutines may take to end, so that no test fails on a busy machine.
const grace = 5 * time.Second

var (
	lastCheck atomic.Uint64
	checks    sync.Map // keys are the tests that have a check
)

// library is the folder of the sources of package broadcast. A function is identified by its source
// file, not by its name: the name of a closure that was inlined begins with the package of its
// caller.
var library = func() string {
	pc := reflect.ValueOf(broadcast.Until).Pointer()
	file, _ := runtime.FuncForPC(pc).FileLine(pc)
	return path.Dir(file)
}()

// awaitNone waits until no goroutine of a check is left, and returns the stacks of those left after
// the grace. It pauses before it looks for the first time, because a goroutine that was only just
// started is not inside any function yet.
func awaitNone(id string) (left []string) {
	deadline := time.Now().Add(grace)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		time.Sleep(pause)
		left = leftovers(id)
		if len(left) == 0 || !time.Now().Before(deadline) {
			return left
		}
	}
}

// leftovers returns the stacks of the goroutines of a check that are inside package broadcast.
func leftovers(id string) (left []string) {
	var profile bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1) // a buffer takes everything
	mine := fmt.Sprintf("%q:%q", label, id)
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if s := parseStack(group); strings.Contains(s.labels, mine) && s.inside() {
			left = append(left, s.String())
		}
	}
	return left
}

// stack is a stack that one or more goroutines have in common.
type stack struct {
	number string // of goroutines
	labels string
	frames []frame // innermost first
}

type frame struct{ function, position string }

// inside reports whether the function belongs to package broadcast or one of its internal packages.
func (f frame) inside() bool {
	folder := path.Dir(f.position)
	return folder == library || strings.HasPrefix(folder, library+"/internal/")
}

// parseStack reads one group of a goroutine profile in its text form:
//
//	2 @ 0x47a02e 0x40c7e5
//	# labels: {"key":"value"}
//	#	0x47a02d	package.function+0x4d	/a/file.go:12
func parseStack(group string) (s stack) {
	for line := range strings.Lines(group) {
		if number, _, ok := strings.Cut(line, " @ "); ok {
			s.number = number
		}
		if labels, ok := strings.CutPrefix(line, "# labels: "); ok {
			s.labels = labels
		}
		if fields := strings.FieldsFunc(line, isSeparator); len(fields) == 4 && fields[0] == "#" {
			function, _, _ := strings.Cut(fields[2], "+0x")
			s.frames = append(s.frames, frame{function, fields[3]})
		}
	}
	return s
}

// isSeparator reports whether r separates columns of a profile. A space does not, because the name
// of a folder may contain one.
func isSeparator(r rune) bool { return r == '\t' || r == '\n' }

// inside reports whether a function of package broadcast is on the stack.
func (s stack) inside() bool {
	return slices.ContainsFunc(s.frames, frame.inside)
}

// String returns the stack, on several lines.
func (s stack) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "\t%s × %s", s.number, s.kind())
	for _, f := range s.frames {
		fmt.Fprintf(&text, "\n\t\t%s\n\t\t\t%s", f.function, f.position)
	}
	return text.String()
}

// kind describes the goroutines by the function that they started with.
func (s stack) kind() string {
	for i := len(s.frames) - 1; i >= 0; i-- {
		f := s.frames[i]
		switch {
		case f.inside():
			return "started by a broker, which is not closed"
		case !strings.HasPrefix(f.function, "sync.") && !strings.HasPrefix(f.function, "context."):
			return "in a call, or in the body of a loop over messages"
		}
	}
	return ""
}
