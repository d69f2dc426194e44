package stream

import (
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fbd86cad/broadcast"
)

// A cache holds the encoded frames of the chats that several connections watch, so that a message
// is encoded once for all of them. A chat with a single connection has no frames here: sharing them
// would gain nothing.
type cache struct {
	mu    sync.Mutex
	chats map[string]*frames // of the chats that are watched; guarded by mu
}

// frames are the cached frames of one chat.
type frames struct {
	watchers int // guarded by the mutex of the cache

	// ring is stored under the mutex of the cache, when the number of connections changes much, and
	// read by connections for each message. It orders the slots of a new ring before its use. nil
	// while fewer than two connections watch.
	ring atomic.Pointer[ring]
}

// maxFrames is the length of the longest ring: the greatest distance at which two connections share
// frames.
const maxFrames = 1024

// join returns the frames of a chat. The caller must call leave.
func (c *cache) join(chat string) *frames {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.chats[chat]
	if f == nil {
		if c.chats == nil {
			c.chats = make(map[string]*frames)
		}
		f = new(frames)
		c.chats[chat] = f
	}
	f.watchers++
	f.resize()
	return f
}

// leave undoes join.
func (c *cache) leave(chat string, f *frames) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.watchers--
	f.resize()
	if f.watchers == 0 {
		delete(c.chats, chat)
	}
}

// resize fits the length of the ring to the number of connections. A chat with few connections
// keeps few frames, because there may be many such chats. The mutex of the cache is held.
func (f *frames) resize() {
	want := 0
	if f.watchers > 1 {
		want = min(32<<bits.Len(uint(f.watchers-1)), maxFrames) // 64 for two
	}
	have := 0
	if r := f.ring.Load(); r != nil {
		have = len(r.slots)
	}
	switch {
	case want == 0:
		f.ring.Store(nil)
	case want > have || want < have/4: // not at each step, where some come and go
		f.ring.Store(&ring{slots: make([]atomic.Pointer[frame], want)})
	}
}

// A ring holds the latest frames of a chat by their Seq. Its length is a power of two.
type ring struct {
	// A slot is stored by the connection that encoded the frame, after the frame is complete, and
	// read by all.
	slots []atomic.Pointer[frame]
}

// A frame is an encoded message. It does not change, except that packed is set once.
type frame struct {
	at    broadcast.Position // a name may have had two logs, so Seq alone does not identify it
	seq   uint64
	bytes []byte // nil: it could not be encoded

	// packed is stored by the first connection that needs it, when it is complete.
	packed atomic.Pointer[[]byte]
}

func (r *ring) slot(seq uint64) *atomic.Pointer[frame] {
	return &r.slots[seq&uint64(len(r.slots)-1)]
}

// load returns the frame at a position, or nil.
func (r *ring) load(at broadcast.Position, seq uint64) *frame {
	if f := r.slot(seq).Load(); f != nil && f.seq == seq && f.at == at {
		return f
	}
	return nil
}

// store keeps a frame, unless its slot has a later one: a connection that lags must not evict the
// frames of the others.
func (r *ring) store(f *frame) {
	slot := r.slot(f.seq)
	if old := slot.Load(); old == nil || old.seq <= f.seq || !sameLog(old, f) {
		slot.CompareAndSwap(old, f) // if another connection was faster, its frame is as good
	}
}

// sameLog reports whether two frames of a chat belong to the same log. A position is the name of
// its log and a number.
func sameLog(a, b *frame) bool {
	logOfA, _, _ := strings.Cut(a.at.String(), "-")
	logOfB, _, _ := strings.Cut(b.at.String(), "-")
	return logOfA == logOfB
}
