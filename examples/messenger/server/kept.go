package server

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/fbd86cad/broadcast"
)

// A note is a message as the broker keeps it: encoded once, for all who ever read it.
type note struct {
	text atomic.Pointer[[]byte] // JSON; nil when the shelf, which alone changes it, has no room for it
	at   time.Time
	post string // who posted it, and the key of the post; "": it has no key

	copied bool // only copies are kept; set by marshal, which Publish calls
}

func newNote(by, text string, at time.Time) *note {
	encoded, _ := json.Marshal(struct { // cannot fail
		By   string    `json:"by"`
		At   time.Time `json:"at"`
		Text string    `json:"text"`
	}{by, at.UTC().Truncate(time.Millisecond), text})
	n := &note{at: at}
	n.text.Store(&encoded)
	return n
}

// encode appends a message as clients get it; null is one that is no longer kept.
func encode(dst []byte, d broadcast.Delivery[*note]) ([]byte, error) {
	text := cmp.Or(d.Message.text.Load(), &null)
	return fmt.Appendf(dst, `{"seq":%d,"position":"%v","message":%s}`, d.Seq, d.Position(), *text), nil
}

var null = []byte("null")

// record is a note as an engine keeps it, for all nodes.
type record struct {
	Text jsontext.Value `json:"text"`
	At   time.Time      `json:"at"`
	Post string         `json:"post,omitzero"`
}

// marshal returns the record of a note.
func marshal(n *note) ([]byte, error) {
	n.copied = true
	return json.Marshal(record{*n.text.Load(), n.at, n.post})
}

// unmarshal returns the note of a record, and keeps it. From now on this node accepts no retry of
// its post, which another node may have accepted.
func (s *Server) unmarshal(data []byte) (*note, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	n := &note{at: r.At, post: r.Post}
	n.text.Store((*[]byte)(&r.Text))
	s.shelf.put(n)
	if n.post != "" {
		s.sent.Add(n.post, struct{}{})
	}
	return n, nil
}

// A shelf bounds the bytes of the texts that are kept, of all chats together. The oldest go first.
type shelf struct {
	limit int
	age   time.Duration

	mu    sync.Mutex
	size  int
	notes list.List // of *note, the oldest first
}

// put keeps a note, and gives up those for which there is no room any more.
func (s *shelf) put(n *note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes.PushBack(n)
	s.size += len(*n.text.Load())
	for range 256 { // at 50 bytes each, the shortest are more than the longest
		oldest := s.notes.Front()
		o := oldest.Value.(*note)
		if s.size <= s.limit && n.at.Sub(o.at) <= s.age {
			return
		}
		s.size -= len(*o.text.Swap(nil))
		s.notes.Remove(oldest)
	}
}

// makingRoom calls create, which may make a chat. If there are too many, it forgets those that
// nobody watches, the longest unused first.
func (s *Server) makingRoom(ctx context.Context, chat string, create func() error) error {
	err := create()
	for tries := 0; tries < 100 && errors.Is(err, broadcast.ErrLimit); tries++ { // all may be watched
		if old, _, ok := s.used.RemoveOldest(); ok && s.broker.Forget(ctx, old) == broadcast.ErrInUse {
			s.used.Add(old, struct{}{})
		} else {
			err = create()
		}
	}
	if err == nil {
		s.used.Add(chat, struct{}{})
	}
	return err
}
