package cluster

import (
	"sync"
	"time"
)

// feeders are the goroutines that feed the logs of a node: as many as there are processors. They
// begin when they are needed and last as long as the node, because new ones would have to grow
// their stacks. Calls of logs should not block, but a log that does so nevertheless must not delay
// others. So there is another goroutine for each call that takes long.
type feeders struct {
	node *Node
	most int           // goroutines, as long as no call takes long
	wake chan struct{} // has a token for each goroutine that is to look for feeds; most fit

	mu          sync.Mutex
	first, last *Feed // that wait for a goroutine, linked by Feed.next; nil if there are none
	goroutines  int
	idle        int    // goroutines that wait, without those for which there is a token
	watched     bool   // a goroutine looks for calls that take long
	taken       uint64 // counts the feeds that have been taken
	before      uint64 // taken when it looked last
}

// long is how often the goroutines are looked at: if none has taken a feed between two looks,
// though one waits, there is another.
const long = 10 * time.Millisecond

// add has a feed fed. It returns false if the node is closed. The lock of the chat is held.
func (p *feeders) add(f *Feed) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.idle > 0:
		p.idle--
		p.wake <- struct{}{}
	case p.goroutines < p.most:
		p.startLocked()
	case !p.watched:
		p.before, p.watched = p.taken, p.node.begin(p.watch)
	}
	if p.goroutines > 0 {
		p.pushLocked(f)
	}
	return p.goroutines > 0
}

func (p *feeders) startLocked() {
	if p.node.begin(p.run) {
		p.goroutines++
	}
}

func (p *feeders) pushLocked(f *Feed) {
	if p.last == nil {
		p.first = f
	} else {
		p.last.next = f
	}
	p.last = f
}

// run feeds the logs in turn, each a piece at a time, until the node is closed or there are enough
// other goroutines for what there is to do.
func (p *feeders) run() {
	var again *Feed
	for {
		f, stay := p.take(again)
		switch {
		case f != nil:
			if again = nil; f.feed() {
				again = f
			}
		case !stay || !p.wait():
			return
		}
	}
}

// take returns the feed that has waited for longest, after it has let another one wait again. If
// there is none, it says whether the goroutine stays to wait.
func (p *feeders) take(again *Feed) (f *Feed, stay bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if again != nil {
		p.pushLocked(again)
	}
	if p.first == nil {
		return nil, p.restLocked()
	}
	f = p.first
	p.first, f.next = f.next, nil
	if p.first == nil {
		p.last = nil
	}
	p.taken++
	return f, true
}

// restLocked notes that a goroutine has nothing to do. It returns false if that ends, because there
// are enough others.
func (p *feeders) restLocked() (stay bool) {
	if p.goroutines > p.most {
		p.goroutines--
		return false
	}
	p.idle++
	return true
}

// wait waits until there is something to do. It returns false if the node is closed.
func (p *feeders) wait() bool {
	select {
	case <-p.wake:
		return true
	case <-p.node.ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.wake: // it may be for this goroutine
		return true
	default:
		p.idle--
		p.goroutines--
		return false
	}
}

// watch starts another goroutine each time that none has finished for long while a feed waits. It
// ends when none waits.
func (p *feeders) watch() {
	for more := true; more; more = p.relieve() {
		select {
		case <-time.After(long):
		case <-p.node.ctx.Done():
			return
		}
	}
}

// relieve starts another goroutine if no feed was taken since the last time. It returns false if no
// feed waits.
func (p *feeders) relieve() (more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first != nil && p.taken == p.before {
		p.startLocked()
	}
	p.before, p.watched = p.taken, p.first != nil
	return p.watched
}
