package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// post answers POST /chats/{chat}/messages {"text":"…"} with 202 if the message was accepted. With
// an Idempotency-Key it is accepted once, however often a client sends it.
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	by, chat, err := s.allowed(r)
	if err != nil {
		return err
	}
	done, err := s.posters.Enter(by)
	if err != nil {
		return err
	}
	defer done()
	text, err := readText(w, r, "text")
	if err != nil {
		return err
	}
	err = s.once(by, r.Header.Get("Idempotency-Key"), func() error {
		return s.publish(r.Context(), chat, newNote(by, text, time.Now()))
	})
	if err != nil {
		return err
	}
	httpjson.Write(w, http.StatusAccepted, map[string]string{"chat": chat, "by": by})
	return nil
}

// publish returns nil if the message was accepted: then everybody gets it who watches the chat.
func (s *Server) publish(ctx context.Context, chat string, n *note) error {
	ctx = context.WithoutCancel(ctx) // whether the client waits makes no difference
	err := s.makingRoom(ctx, chat, func() error { return s.broker.Publish(ctx, chat, n) })
	switch {
	case err == nil:
		s.shelf.put(n)
	case errors.Is(err, broadcast.ErrOverloaded):
		return httpjson.Later(time.Second, "the chat is overloaded")
	case errors.Is(err, broadcast.ErrLimit):
		return httpjson.Later(time.Minute, "there are too many chats, and all are watched")
	case errors.Is(err, broadcast.ErrClosed):
		return errStopping
	}
	return err
}

var errStopping = httpjson.Later(5*time.Second, "the server is shutting down")

// An attempt is a post with a key.
type attempt struct {
	inProgress sync.Mutex // guards the other; nobody waits for it
	succeeded  bool
}

// once calls do, unless that has succeeded before for that user and key. An empty key means no key.
func (s *Server) once(by, key string, do func() error) (err error) {
	switch {
	case key == "":
		return do()
	case len(key) > 64:
		return httpjson.Errorf(http.StatusBadRequest, "Idempotency-Key has more than 64 bytes")
	}
	a := s.sent.Get(by + "\n" + key)
	if !a.inProgress.TryLock() {
		return httpjson.Errorf(http.StatusConflict, "the same post is in progress")
	}
	defer a.inProgress.Unlock()
	if !a.succeeded {
		err = do()
		a.succeeded = err == nil
	}
	return err
}
