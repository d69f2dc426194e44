package until

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ended is what a registry was told to end.
type ended struct {
	cause   error
	members []int
}

// newRegistry returns a registry and where it tells what it ends.
func newRegistry() (*Registry[int], <-chan ended) {
	told := make(chan ended, 100)
	return &Registry[int]{End: func(cause error, members iter.Seq[int]) {
		e := ended{cause: cause}
		for m := range members {
			e.members = append(e.members, m)
		}
		told <- e
	}}, told
}

// watched is a context that counts its callbacks. It does something when one is registered and when
// one is stopped.
type watched struct {
	context.Context
	registered, stopped atomic.Int32
	register, stop      func()
}

func (w *watched) Value(any) any { return nil } // hides that a context of the standard library is inside

// AfterFunc is what context.AfterFunc calls.
func (w *watched) AfterFunc(f func()) func() bool {
	w.registered.Add(1)
	stop := context.AfterFunc(w.Context, f)
	if w.register != nil {
		w.register()
	}
	return func() bool {
		w.stopped.Add(1)
		if w.stop != nil {
			w.stop()
		}
		return stop()
	}
}

// requireEmpty fails the test unless the registry holds nothing.
func requireEmpty(t *testing.T, r *Registry[int]) {
	t.Helper()
	require.Nil(t, r.groups)
	require.Nil(t, r.idle.Load())
}

var errCause = errors.New("the cause")

func TestMembersOfOneContextShareOneCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := newRegistry()
		inner, cancel := context.WithCancel(t.Context())
		ctx := &watched{Context: inner}
		for i := range 1_000 {
			r.Join(ctx, i)
		}
		require.EqualValues(t, 1, ctx.registered.Load())
		cancel()
		synctest.Wait()
		require.Len(t, told, 1)
		e := <-told
		require.Equal(t, context.Canceled, e.cause)
		require.Len(t, e.members, 1_000)
		require.EqualValues(t, 1, ctx.registered.Load())
		requireEmpty(t, r)
	})
}

func TestMembersEndWithTheCauseOfTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := newRegistry()
		one, cancel := context.WithCancelCause(t.Context())
		two, cancelTwo := context.WithTimeout(t.Context(), time.Second)
		defer cancelTwo()
		r.Join(one, 1)
		r.Join(two, 2)
		cancel(errCause)
		require.Equal(t, ended{errCause, []int{1}}, <-told)
		require.Equal(t, ended{context.DeadlineExceeded, []int{2}}, <-told)
		requireEmpty(t, r)
	})
}

func TestAContextThatIsDoneEndsAMemberAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := newRegistry()
		done, cancel := context.WithCancelCause(t.Context())
		cancel(errCause)
		for i := range 3 {
			m := r.Join(done, i)
			require.Equal(t, ended{errCause, []int{i}}, <-told)
			r.Leave(m) // no more than nothing
		}
		r.Release()
		requireEmpty(t, r)
	})
}

func TestAContextThatNeverEndsHoldsNothingOfItsMembersAfterThem(t *testing.T) {
	r, _ := newRegistry()
	for _, ctx := range []context.Context{context.Background(), context.TODO()} {
		a, b := r.Join(ctx, 1), r.Join(ctx, 2)
		r.Leave(a)
		r.Leave(b)
	}
	r.Release()
	requireEmpty(t, r)
}

// In whatever order they leave, and whoever has left before.
func TestAMemberThatHasLeftDoesNotEnd(t *testing.T) {
	for _, leave := range [][]int{{0}, {1}, {2}, {0, 1}, {1, 0}, {2, 1}, {0, 2}, {2, 0}, {1, 1}, {0, 1, 2}, {2, 1, 0}, {1, 2, 0, 1}} {
		synctest.Test(t, func(t *testing.T) {
			r, told := newRegistry()
			inner, cancel := context.WithCancel(t.Context())
			ctx := &watched{Context: inner}
			members := []*Member[int]{r.Join(ctx, 0), r.Join(ctx, 1), r.Join(ctx, 2)}
			stay := map[int]bool{0: true, 1: true, 2: true}
			for _, i := range leave {
				r.Leave(members[i])
				r.Release()
				delete(stay, i)
			}
			require.Equal(t, len(stay) == 0, ctx.stopped.Load() == 1, "the last one stops the callback")
			requireNothingIfEmpty(t, r, len(stay))
			cancel()
			synctest.Wait()
			got := map[int]bool{}
			if len(stay) > 0 {
				for _, m := range (<-told).members {
					got[m] = true
				}
			}
			require.Equal(t, stay, got)
			require.Empty(t, told)
			requireEmpty(t, r)
		})
	}
}

func requireNothingIfEmpty(t *testing.T, r *Registry[int], members int) {
	t.Helper()
	if members == 0 {
		requireEmpty(t, r)
	} else {
		require.Len(t, r.groups, 1)
	}
}

// uncomparable is a context for which == panics, though that of its type is allowed.
type uncomparable struct {
	context.Context
	_ any
	f any
}

func TestAContextThatCannotBeComparedHasACallbackForEachMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := newRegistry()
		inner, cancel := context.WithCancelCause(t.Context())
		ctx := uncomparable{Context: inner, f: func() {}}
		r.Join(ctx, 1)
		r.Leave(r.Join(ctx, 2))
		r.Release()
		r.Join(ctx, 3)
		require.Nil(t, r.groups)
		cancel(errCause)
		a, b := <-told, <-told
		require.ElementsMatch(t, []ended{{errCause, []int{1}}, {errCause, []int{3}}}, []ended{a, b})
		requireEmpty(t, r)
	})
}

func TestEqualContextsAreOne(t *testing.T) {
	r, _ := newRegistry()
	type wrapped struct{ context.Context }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, b := r.Join(wrapped{ctx}, 1), r.Join(wrapped{ctx}, 2)
	require.Len(t, r.groups, 1)
	r.Leave(a)
	r.Leave(b)
	r.Release()
	requireEmpty(t, r)
}

// Nobody waits for the callback of somebody else, which may hang.
func TestOfThoseWhoJoinAtTheSameTimeOneCallbackStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := newRegistry()
		inner, cancel := context.WithCancel(t.Context())
		hang := make(chan struct{})
		ctx := &watched{Context: inner, register: func() { <-hang }}
		for i := range 10 {
			go r.Join(ctx, i)
		}
		synctest.Wait()
		close(hang)
		synctest.Wait()
		require.EqualValues(t, 10, ctx.registered.Load())
		require.EqualValues(t, 9, ctx.stopped.Load())
		cancel()
		require.Len(t, (<-told).members, 10)
		require.Empty(t, told)
		requireEmpty(t, r)
	})
}

func TestAMemberWhoseContextEndsWhileItJoinsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := newRegistry()
		inner, cancel := context.WithCancel(t.Context())
		ctx := &watched{Context: inner, register: cancel}
		r.Join(ctx, 1)
		require.Equal(t, []int{1}, (<-told).members)
		requireEmpty(t, r)
	})
}

func TestOfAContextThatPanicsNothingIsLeft(t *testing.T) {
	r, _ := newRegistry()
	require.Panics(t, func() { r.Join(&watched{Context: t.Context(), register: func() { panic("register") }}, 1) })
	requireEmpty(t, r)
}

func TestReleaseStopsTheOthersAlsoIfOnePanics(t *testing.T) {
	r, _ := newRegistry()
	var contexts []*watched
	var members []*Member[int]
	for range 5 {
		ctx := &watched{Context: t.Context(), stop: func() { panic("stop") }}
		contexts = append(contexts, ctx)
		members = append(members, r.Join(ctx, 1))
	}
	for _, m := range members {
		r.Leave(m)
	}
	require.PanicsWithValue(t, "stop", r.Release)
	for _, ctx := range contexts {
		require.EqualValues(t, 1, ctx.stopped.Load())
	}
	requireEmpty(t, r)
}

func TestWhatHangsInReleaseHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRegistry()
		hang := make(chan struct{})
		hangs, goes := &watched{Context: t.Context(), stop: func() { <-hang }}, &watched{Context: t.Context()}
		one, two := r.Join(goes, 1), r.Join(hangs, 2)
		r.Leave(one)
		r.Leave(two) // the first to be stopped
		go r.Release()
		synctest.Wait()
		require.EqualValues(t, 1, hangs.stopped.Load())
		r.Release()
		require.EqualValues(t, 1, goes.stopped.Load())
		requireEmpty(t, r)
		close(hang)
	})
}

// A callback whose goroutine was started when the last member left.
func TestReleaseWaitsUntilACallbackThatWasStartedHasBegun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that it is started and does not run
	for range 100 {
		r, told := newRegistry()
		ctx, cancel := context.WithCancel(t.Context())
		m := r.Join(ctx, 1)
		g := m.group
		cancel()
		r.Leave(m)
		r.Release()
		r.mu.Lock()
		require.True(t, g.over)
		r.mu.Unlock()
		require.Empty(t, told)
		requireEmpty(t, r)
	}
}

// silent is a context that does something strange when the callback asks it for its error.
type silent struct {
	context.Context
	err func() error
}

func (s *silent) Value(any) any { return nil }

func (s *silent) Err() error {
	stack := make([]byte, 4<<10)
	if stack = stack[:runtime.Stack(stack, false)]; strings.Contains(string(stack), ".fire(") {
		return s.err()
	}
	return s.Context.Err()
}

func TestAContextThatSaysNothingEndsItsMembersAsCanceled(t *testing.T) {
	for _, err := range []func() error{
		func() error { return nil },
		func() error { runtime.Goexit(); return nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			r, told := newRegistry()
			inner, cancel := context.WithCancelCause(t.Context())
			r.Join(&silent{inner, err}, 1)
			cancel(errCause)
			require.Equal(t, ended{context.Canceled, []int{1}}, <-told)
		})
	}
}

func TestAContextThatHangsAtItsEndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := newRegistry()
		inner, cancel := context.WithCancelCause(t.Context())
		hang := make(chan struct{})
		hangs := r.Join(&silent{inner, func() error { <-hang; return nil }}, 1)
		r.Join(&silent{inner, func() error { <-hang; return nil }}, 2)
		r.Join(inner, 3)
		cancel(errCause)
		require.Equal(t, ended{errCause, []int{3}}, <-told)
		synctest.Wait()
		r.Leave(hangs) // it does not end any more
		r.Release()
		close(hang)
		a, b := <-told, <-told
		require.ElementsMatch(t, []int{2}, append(a.members, b.members...))
		requireEmpty(t, r)
	})
}
