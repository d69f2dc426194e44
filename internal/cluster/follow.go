package cluster

import (
	"context"
	"sync"
	"time"
)

// mostChats is the largest number of chats in one call of the session.
const mostChats = 1000

// A batcher does something with many items at once: chats that want the same call of the session,
// or calls of Append. While that is being done, the items for the next time gather, so that ten
// thousand chats cost about ten calls.
type batcher[E any] struct {
	node *Node
	do   func(items []E)

	mu      sync.Mutex
	waiting []E
	running bool // a goroutine calls do
}

// add adds an item. It returns false if the node is closed. The lock of a chat is held.
func (b *batcher[E]) add(item E) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, item)
	if !b.running {
		b.running = b.node.begin(b.run)
	}
	return b.running
}

// run calls do until no item is waiting.
func (b *batcher[E]) run() {
	for items := b.take(); len(items) > 0; items = b.take() {
		b.do(items)
	}
}

func (b *batcher[E]) take() (items []E) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), mostChats)
	items, b.waiting = b.waiting[:n:n], b.waiting[n:]
	if n == 0 {
		b.waiting, b.running = nil, false
	}
	return items
}

// ask asks for the newest records of chats.
func (n *Node) ask(chats []*chat) {
	heads, err := n.heads(namesOf(chats))
	for i, c := range chats {
		if err != nil {
			c.answer(Place{}, err)
		} else {
			c.answer(heads[i], nil)
		}
	}
}

func (n *Node) heads(names []string) ([]Place, error) {
	live := n.live.Load()
	if live == nil {
		return nil, ErrAway
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return live.Heads(ctx, names...)
}

// follow makes the session follow those of the chats that have a feed, and no longer the others.
func (n *Node) follow(chats []*chat) {
	var fed, others []*chat
	for _, c := range chats {
		if c.fed() {
			fed = append(fed, c)
		} else {
			others = append(others, c)
		}
	}
	err := n.setFollowed(fed, others)
	for _, c := range fed {
		c.follows(true, err)
	}
	for _, c := range others {
		c.follows(false, err)
	}
}

func (n *Node) setFollowed(fed, others []*chat) error {
	live := n.live.Load()
	if live == nil {
		return ErrAway
	}
	if len(others) > 0 {
		live.Unfollow(namesOf(others)...)
	}
	if len(fed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return live.Follow(ctx, namesOf(fed)...)
}

func namesOf(chats []*chat) []string {
	names := make([]string, len(chats))
	for i, c := range chats {
		names[i] = c.name
	}
	return names
}

// fed reports whether the chat has a feed.
func (c *chat) fed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.feed != nil
}

// follows notes that the session follows the chat now, or no longer, or that the call has failed.
func (c *chat) follows(followed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.following = false
	if err != nil {
		c.backOffLocked()
	} else if c.followed = followed; followed {
		c.checkAt = time.Now().Add(firstCheck)
		c.introduceLocked()
		c.invalidateLocked()
		c.scheduleLocked()
	}
	c.advanceLocked()
}
