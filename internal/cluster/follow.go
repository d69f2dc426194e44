package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// mostChats is the largest number of chats in one call of the session.
const mostChats = 1000

// A batcher gathers the chats that want the same call of the session. While a call is running, the
// chats for the next one gather, so that ten thousand chats cost about ten calls.
type batcher struct {
	node *Node
	call func(chats []*chat)

	mu      sync.Mutex
	waiting []*chat
	running bool // a goroutine makes calls
}

// add adds a chat. The lock of the chat is held.
func (b *batcher) add(c *chat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, c)
	if !b.running {
		b.running = b.node.begin(b.run)
	}
}

// run makes calls until no chat is waiting.
func (b *batcher) run() {
	for chats := b.take(); len(chats) > 0; chats = b.take() {
		b.call(chats)
	}
}

func (b *batcher) take() (chats []*chat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), mostChats)
	chats, b.waiting = b.waiting[:n:n], b.waiting[n:]
	if n == 0 {
		b.waiting, b.running = nil, false
	}
	return chats
}

// ask asks for the newest records of chats.
func (n *Node) ask(chats []*chat) {
	heads, err := n.heads(namesOf(chats))
	for i, c := range chats {
		if err != nil {
			c.answer(engine.Record{}, err)
		} else {
			c.answer(heads[i], nil)
		}
	}
}

func (n *Node) heads(names []string) ([]engine.Record, error) {
	live := n.live.Load()
	if live == nil {
		return nil, engine.ErrAway
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
		return engine.ErrAway
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
