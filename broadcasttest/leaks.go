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

// CheckLeaks fails the test if, when it ends, goroutines are left inside of package broadcast: those of a broker that was not
// closed, those that wait for a message or for room, and those that are stuck in a loop over messages. It looks in a cleanup, where it
// gives goroutines that are about to end 5 seconds; it does not look when the test has failed anyhow.
//
// Call it first, from the goroutine that runs the test: then the other cleanups come before it. It looks at what was started
// since by the test, or by what that has started, and at nothing else, so that tests may run in parallel, and what was there before may
// stay. [New] calls it too; once in a test is enough, more do nothing.
//
// It knows these goroutines by a pprof label, which each inherits from the one that starts it. One that replaces its labels, as
// [pprof.Do] does meanwhile, is not found.
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

// label is the key of the label that holds the number of a check.
const label = "broadcasttest"

// grace is how long goroutines may take to end, so that a busy machine makes nobody fail.
const grace = 5 * time.Second

var (
	lastCheck atomic.Uint64
	checks    sync.Map // of the tests that have one
)

// library is the folder of the source of package broadcast. A function is known by where it was written, not by its name: that of a
// closure which the compiler has moved into its caller begins with the caller's package.
var library = func() string {
	pc := reflect.ValueOf(broadcast.Until).Pointer()
	file, _ := runtime.FuncForPC(pc).FileLine(pc)
	return path.Dir(file)
}()

// awaitNone waits until no goroutine of a check is left, and returns those that are left when the grace is over. It pauses
// also before the first look: a goroutine that was only just started is not inside of anything yet.
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

// leftovers returns the stacks of the goroutines of a check that are inside of package broadcast.
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

// stack is where some goroutines are, all at the same place.
type stack struct {
	number string // of goroutines
	labels string
	frames []frame // innermost first
}

type frame struct{ function, position string }

// inside reports whether the function is of package broadcast.
func (f frame) inside() bool { return path.Dir(f.position) == library }

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

// isSeparator reports whether r separates the columns of a profile. Blanks do not: there may be some in the name of a folder.
func isSeparator(r rune) bool { return r == '\t' || r == '\n' }

// inside reports whether a function of package broadcast is running.
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

// kind says what kind of goroutines these are, by the function that they began with.
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
