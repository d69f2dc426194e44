package cluster

import (
	"errors"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/background"
)

// A chat is what a node knows of one chat. It has six parts: order.go follows the order, commit.go
// publishes, ending.go ends the chat, presence.go follows the devices of other nodes, kick.go kicks
// them, and feed.go feeds the core. Forget, in forget.go, is a matter of the node.
//
// Each event changes the state under the lock, and then calls advanceLocked, which starts whatever
// the new state asks for. No lock is held during a call of a session or a Log.
//
// Lock order in this package: Node.chats, chat.mu, the lock of a batcher, of the mail or of the
// feeders, Node.mu. The locks of the calls, of the agenda, of the clock and of the tracker are
// below chat.mu too, and nothing is below them.
type chat struct {
	node *Node
	name string

	mu         sync.Mutex // guards all below
	connection *connection
	order
	commit
	presence
	feed      *Feed // nil while the chat is only published to
	joining   *Feed // takes over when no batch is in flight; nil if there is none
	followed  bool  // the session follows the chat
	following bool  // waits for Node.follows
	forgotten bool  // no longer in Node.chats: look it up again

	backoff time.Duration // the last one; 0 after a success
	retryAt time.Time     // no call before that; zero if there is no backoff
	checkAt time.Time     // of the next check of the place, or whether the chat is needed
	used    bool          // a message was published since the last check

	background.Appointment // guarded by the agenda
}

// errForgotten means that the chat was forgotten between its look-up and the lock.
var errForgotten = errors.New("chat was forgotten")

// advance handles a change of the node.
func (c *chat) advance() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advanceLocked()
}

// advanceLocked starts what the present state asks for. It must be called after each change, and
// may be called at any time.
func (c *chat) advanceLocked() {
	c.reconnectLocked()
	c.takeOverLocked()
	c.refuseLocked()
	if c.connection == nil {
		return
	}
	if c.backingOffLocked() {
		return
	}
	c.followLocked()
	if c.feed != nil && !c.followed {
		return
	}
	switch c.state {
	case unknown:
		c.askLocked()
	case behind:
		c.readLocked()
	case absent:
		if c.wantedLocked() {
			c.beginLocked()
		}
	case over:
		if c.wantedLocked() {
			c.purgeLocked()
		}
	case current:
		if before(c.place, c.seen.Place) { // handed over while the chat was in another epoch
			c.invalidateLocked()
			c.askLocked()
			return
		}
		c.readyLocked()
		if c.ended != nil {
			c.refuseEndedLocked()
		} else {
			c.commitLocked()
		}
	}
}

// wantedLocked reports whether somebody wants the chat to have an epoch. After Forget the feed does
// not count: its log is about to leave.
func (c *chat) wantedLocked() bool {
	feed := c.feed != nil && (c.ended == nil || !c.ended.forgot)
	return feed || c.inflight != nil || c.waiting.first != nil
}

// followLocked has the chat followed if it has a feed, and no longer if it has none.
func (c *chat) followLocked() {
	if c.followed != (c.feed != nil) && !c.following {
		c.following = true
		c.node.follows.add(c)
	}
}

// reconnectLocked notes a change of the connection.
func (c *chat) reconnectLocked() {
	live := c.node.live.Load()
	if live == c.connection {
		return
	}
	c.connection = live
	if live != nil {
		c.invalidateLocked()
		c.backoff, c.retryAt = 0, time.Time{}
		if c.feed != nil {
			c.introduceLocked()
			c.checkAt = time.Now().Add(firstCheck)
			c.scheduleLocked()
		}
	}
}

// takeOverLocked makes the feed that is joining the feed of the chat, unless a batch is in flight:
// that needs the place as it is.
func (c *chat) takeOverLocked() {
	if c.joining == nil || c.inflight != nil {
		return
	}
	if c.feed != nil {
		c.dropDevicesLocked()
	}
	c.feed, c.joining = c.joining, nil
	c.meetLocked()
	if before(c.past, c.place) {
		c.past, c.freed = c.place, c.ended != nil && c.ended.over()
	}
	c.place, c.ended, c.seen, c.empty = engine.Place{}, nil, engine.Record{}, 0
	c.checkAt = time.Now().Add(firstCheck)
	c.invalidateLocked()
	c.scheduleLocked()
}

// join makes f the feed of the chat. It returns false if the chat was forgotten.
func (c *chat) join(f *Feed) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten {
		return false
	}
	for _, old := range []*Feed{c.feed, c.joining} {
		if old != nil {
			old.leaveLocked()
		}
	}
	c.joining = f
	c.advanceLocked()
	return true
}

// neededLocked reports whether the chat must be kept.
func (c *chat) neededLocked() bool {
	return c.feed != nil || c.joining != nil || c.followed || c.following || c.used ||
		c.inflight != nil || c.waiting.first != nil
}

// close ends all waits, and the feed.
func (c *chat) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endWaitsLocked(ErrClosed)
	if c.feed != nil {
		c.feed.leaveLocked()
	}
}

// backOffLocked delays the next call, because one has failed: each time for longer.
func (c *chat) backOffLocked() {
	c.backoff = min(max(2*c.backoff, minBackoff), maxBackoff)
	c.retryAt = time.Now().Add(c.backoff)
	c.scheduleLocked()
}

// backingOffLocked reports whether the next call is delayed.
func (c *chat) backingOffLocked() bool {
	return !c.retryAt.IsZero() && time.Now().Before(c.retryAt)
}

// scheduleLocked schedules the next visit.
func (c *chat) scheduleLocked() {
	due := []time.Time{c.retryAt, c.checkAt, c.kickAt}
	if c.feed != nil {
		due = append(due, c.feed.devices.repeatAt)
	}
	if k := c.beginning; k != nil {
		due = append(due, k.deadline)
	}
	if b := c.inflight; b != nil && b.call != nil {
		due = append(due, b.call.deadline)
	}
	for _, at := range due {
		if !at.IsZero() {
			c.node.agenda.Schedule(c, at)
		}
	}
}

// visitAll visits the chats in which something is due.
func visitAll(due []*chat) (then func()) {
	for _, c := range due {
		if c.visit(time.Now()) {
			c.node.forget(c)
		}
	}
	return nil
}

// visit does what is due in a chat. It reports whether the chat is not needed any more.
func (c *chat) visit(now time.Time) (unneeded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.retryAt.IsZero() && !now.Before(c.retryAt) {
		c.retryAt = time.Time{}
		if c.state == conflict {
			c.invalidateLocked()
		}
	}
	if !c.checkAt.IsZero() && !now.Before(c.checkAt) {
		c.checkAt = now.Add(checkInterval)
		c.used = false
		unneeded = !c.neededLocked()
		if c.feed != nil && c.followed && c.connection != nil {
			c.askLocked()
			c.expirePeersLocked(now)
		}
	}
	c.repeatLocked(now)
	c.repeatKicksLocked(now)
	c.beginning.expireLocked(now)
	if c.inflight != nil {
		c.inflight.call.expireLocked(now)
	}
	c.advanceLocked()
	c.scheduleLocked()
	return unneeded
}
