package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/fbd86cad/broadcast"
)

// A note is a message as the broker keeps it. It becomes nil when Server.kept has no room for it any
// more.
type note struct{ atomic.Pointer[record] }

// A record is what there is to keep of a message, also for an engine.
type record struct {
	Message jsontext.Value `json:"message"` // encoded once, for all who ever read it
	Post    string         `json:"post"`    // by whom, and the key
}

func newNote(by, text, post string, at time.Time) *note {
	encoded, _ := json.Marshal(struct { // cannot fail
		By   string    `json:"by"`
		At   time.Time `json:"at"`
		Text string    `json:"text"`
	}{by, at.UTC().Truncate(time.Millisecond), text})
	n := new(note)
	n.Store(&record{encoded, post})
	return n
}

// encode appends a message as clients get it; null is one that is no longer kept.
func encode(dst []byte, d broadcast.Delivery[*note]) ([]byte, error) {
	kept := cmp.Or(d.Message.Load(), &record{Message: jsontext.Value("null")})
	return fmt.Appendf(dst, `{"seq":%d,"position":"%v","message":%s}`, d.Seq, d.Position(), kept.Message), nil
}

// marshal returns a note as an engine keeps it, for all nodes.
func marshal(n *note) ([]byte, error) { return json.Marshal(n.Load()) }

// unmarshal returns the note that marshal was given on any node, and keeps it. From now on this node
// accepts no retry of its post, which another node may have accepted.
func (s *Server) unmarshal(data []byte) (*note, error) {
	n, r := new(note), new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	n.Store(r)
	s.kept.Add(n, struct{}{})
	s.sent.Add(r.Post, struct{}{})
	return n, nil
}

// makingRoom calls create, which may make a chat. If there are too many, it forgets those that
// nobody watches, the longest unused first. With an engine, it waits for other nodes.
func (s *Server) makingRoom(ctx context.Context, chat string, create func() error) error {
	err := create()
	for tries := 0; tries < 100 && errors.Is(err, broadcast.ErrLimit); tries++ { // all may be watched
		old, _, ok := s.used.RemoveOldest()
		if failure := s.broker.Forget(ctx, old); !ok || failure == nil {
			err = create()
		} else if s.used.Add(old, struct{}{}); failure != broadcast.ErrInUse {
			return err // the engine or another node does not answer
		}
	}
	if err == nil {
		s.used.Add(chat, struct{}{})
	}
	return err
}
