// Package until ends members when their contexts end. The members of a context share one callback
// of [context.AfterFunc], so that the end of the context starts one goroutine for all of them.
//
// A context may be of any type. Its methods, and the function that stops its callback, are user
// code: they may hang, panic, or call the user of this package. None of them runs while a lock is
// held or while another goroutine waits. [Registry.Leave], which others may wait for, therefore
// does not stop callbacks; [Registry.Release] stops those that are not needed any more.
package until

import (
	"context"
	"iter"
	"reflect"
	"sync"
	"sync/atomic"
)

// A Registry holds the contexts that have members. All methods are safe for concurrent use. Set End
// before the first Join; otherwise the zero Registry is ready to use.
type Registry[M any] struct {
	// End is called when a context has ended, on a goroutine of its own, with the cause and an
	// iterator over the members. Each member leaves when the iterator yields it.
	End func(cause error, members iter.Seq[M])

	mu     sync.Mutex
	groups map[context.Context]*group[M] // groups that further members can join

	// idle is a list of groups without members, whose callbacks must be stopped. It is stored under
	// mu. Release loads it without, and sees at least what the same goroutine has stored.
	idle atomic.Pointer[group[M]]
}

// group is the members of one context. All fields but registry and ctx are guarded by Registry.mu.
type group[M any] struct {
	registry *Registry[M]
	ctx      context.Context
	stop     func() bool   // of context.AfterFunc
	members  *Member[M]    // a list
	next     *group[M]     // in Registry.idle
	begun    chan struct{} // closed when the callback begins; nil while nobody waits for that
	over     bool          // the callback has begun
	shared   bool          // the group is in Registry.groups
}

// A Member is a value that ends with a context.
type Member[M any] struct {
	value      M
	group      *group[M] // nil after the member has left; like the rest, guarded by Registry.mu
	prev, next *Member[M]
}

// Join makes value a member until ctx ends or the member leaves. It calls methods of ctx; if one of
// them panics, Join adds no member.
func (r *Registry[M]) Join(ctx context.Context, value M) *Member[M] {
	m := &Member[M]{value: value}
	comparable := reflect.ValueOf(ctx).Comparable()
	if comparable && r.joinShared(ctx, m) {
		return m
	}
	g := &group[M]{registry: r, ctx: ctx}
	g.add(m)
	stop := context.AfterFunc(ctx, g.fire)
	r.mu.Lock()
	g.stop = stop
	late := comparable && !g.over && !r.shareLocked(g)
	if late { // another goroutine has registered a callback meanwhile
		g.remove(m)
		r.groups[ctx].add(m)
	}
	r.mu.Unlock()
	if late {
		r.Release()
	}
	return m
}

// joinShared adds a member to the group of ctx. It returns false if there is no such group.
func (r *Registry[M]) joinShared(ctx context.Context, m *Member[M]) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.groups[ctx]
	if g != nil {
		g.add(m)
	}
	return g != nil
}

// shareLocked lets further members join the group. It returns false if its context has another
// group already.
func (r *Registry[M]) shareLocked(g *group[M]) bool {
	if r.groups[g.ctx] != nil {
		return false
	}
	if r.groups == nil {
		r.groups = make(map[context.Context]*group[M])
	}
	r.groups[g.ctx], g.shared = g, true
	return true
}

// unshareLocked undoes shareLocked.
func (g *group[M]) unshareLocked() {
	if r := g.registry; g.shared {
		g.shared = false
		if delete(r.groups, g.ctx); len(r.groups) == 0 {
			r.groups = nil // a map does not shrink
		}
	}
}

func (g *group[M]) add(m *Member[M]) {
	m.group, m.next = g, g.members
	if m.next != nil {
		m.next.prev = m
	}
	g.members = m
}

// remove removes a member. A group without members becomes idle, unless its context has ended.
func (g *group[M]) remove(m *Member[M]) {
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		g.members = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	}
	m.group, m.prev, m.next = nil, nil, nil
	if g.members == nil && !g.over {
		g.unshareLocked()
		g.next = g.registry.idle.Load()
		g.registry.idle.Store(g)
	}
}

// Leave removes a member, if it has not left. It does not block, and runs no user code. Call
// Release afterwards.
func (r *Registry[M]) Leave(m *Member[M]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.group != nil {
		m.group.remove(m)
	}
}

// Release stops the callbacks of contexts without members. It runs user code on the calling
// goroutine: hold no lock, and let nobody wait for it. When it returns, the goroutines of the
// callbacks it stopped have ended, except for those inside user code. If user code hangs, other
// calls of Release are not held up; if it panics, the remaining callbacks are stopped all the same.
func (r *Registry[M]) Release() {
	returned := false
	defer func() {
		if !returned {
			r.Release()
		}
	}()
	for g := r.takeIdle(); g != nil; g = r.takeIdle() {
		if !g.stop() {
			g.awaitBegun()
		}
	}
	returned = true
}

// takeIdle removes and returns an idle group, or nil if there is none.
func (r *Registry[M]) takeIdle() *group[M] {
	if r.idle.Load() == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.idle.Load()
	if g != nil {
		r.idle.Store(g.next)
		g.next = nil
	}
	return g
}

// awaitBegun waits until the callback of an idle group, whose goroutine has been started, has
// begun. Without members it then does nothing.
func (g *group[M]) awaitBegun() {
	g.registry.mu.Lock()
	if !g.over {
		g.begun = make(chan struct{})
	}
	begun := g.begun
	g.registry.mu.Unlock()
	if begun != nil {
		<-begun
	}
}

// begin marks the group as over. It reports whether it has members.
func (g *group[M]) begin() bool {
	g.registry.mu.Lock()
	defer g.registry.mu.Unlock()
	g.over = true
	g.unshareLocked()
	if g.begun != nil {
		close(g.begun)
	}
	return g.members != nil
}

// fire is the callback for the end of the context.
func (g *group[M]) fire() {
	if !g.begin() {
		return
	}
	cause := context.Canceled // if ctx has no cause, or calls runtime.Goexit
	defer func() { g.registry.End(cause, g.leaving) }()
	if c := context.Cause(g.ctx); c != nil {
		cause = c
	}
}

// leaving is the iterator for End: it removes each member and yields its value. The lock is free
// while it yields.
func (g *group[M]) leaving(yield func(M) bool) {
	for {
		g.registry.mu.Lock()
		m := g.members
		if m != nil {
			g.remove(m)
		}
		g.registry.mu.Unlock()
		if m == nil || !yield(m.value) {
			return
		}
	}
}
