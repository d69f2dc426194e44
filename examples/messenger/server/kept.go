package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast"
)

// A note is a message as the broker keeps it: encoded once, for all who ever read it.
type note struct {
	text atomic.Pointer[[]byte] // JSON; nil when the shelf, which alone changes it, has no room for it
	at   time.Time
	next *note // that came after it on the shelf; guarded by the lock of the shelf
}

func newNote(by, text string, at time.Time) *note {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // or each < would take six bytes
	_ = e.Encode(struct {  // cannot fail
		By   string    `json:"by"`
		At   time.Time `json:"at"`
		Text string    `json:"text"`
	}{by, at.UTC().Truncate(time.Millisecond), text})
	n := &note{at: at}
	n.text.Store(new(bytes.Clone(bytes.TrimSpace(b.Bytes()))))
	return n
}

// encode appends a message as clients get it; null is one that is no longer kept.
func encode(dst []byte, d broadcast.Delivery[*note]) ([]byte, error) {
	text := []byte("null")
	if kept := d.Message.text.Load(); kept != nil {
		text = *kept
	}
	return fmt.Appendf(dst, `{"seq":%d,"position":"%v","message":%s}`, d.Seq, d.Position(), text), nil
}

// A shelf bounds the bytes of the texts that are kept, of all chats together. The oldest go first.
type shelf struct {
	limit int
	age   time.Duration

	mu           sync.Mutex
	size         int
	oldest, last *note
}

// put keeps a note, and gives up those for which there is no room any more.
func (s *shelf) put(n *note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.oldest == nil {
		s.oldest = n
	} else {
		s.last.next = n
	}
	s.last = n
	s.size += len(*n.text.Load())
	for range 256 { // at 50 bytes each, the shortest are more than the longest
		o := s.oldest
		if s.size <= s.limit && n.at.Sub(o.at) <= s.age {
			return
		}
		s.size -= len(*o.text.Swap(nil))
		s.oldest, o.next = o.next, nil // or it would keep all that came after it
	}
}

// makingRoom calls create, which may make a chat. If there are too many, it forgets those that
// nobody watches, the longest unused first.
func (s *Server) makingRoom(ctx context.Context, chat string, create func() error) error {
	err := create()
	for range 100 { // others, which may all be watched
		if !errors.Is(err, broadcast.ErrLimit) {
			break
		}
		old, _, ok := s.used.RemoveOldest()
		if ok && s.broker.Forget(ctx, old) == broadcast.ErrInUse {
			s.used.Add(old, struct{}{})
			continue
		}
		err = create()
	}
	if err == nil {
		s.used.Add(chat, struct{}{})
	}
	return err
}
