package server

import (
	"context"
	"errors"
	"net/http"
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
		return httpjson.Later(http.StatusServiceUnavailable, time.Second, "the chat is overloaded")
	case errors.Is(err, broadcast.ErrLimit):
		return httpjson.Later(http.StatusServiceUnavailable, time.Minute, "there are too many chats, and all are watched")
	case errors.Is(err, broadcast.ErrClosed):
		return errStopping
	}
	return err
}

var errStopping = httpjson.Later(http.StatusServiceUnavailable, 5*time.Second, "the server is shutting down")

// once calls do, unless that has succeeded before for that user and key. An empty key means no key.
func (s *Server) once(by, key string, do func() error) error {
	switch {
	case key == "":
		return do()
	case len(key) > 64:
		return httpjson.Errorf(http.StatusBadRequest, "Idempotency-Key has more than 64 bytes")
	}
	key = by + "\n" + key
	if accepted, known, _ := s.sent.PeekOrAdd(key, false); accepted {
		s.sent.Get(key) // it was used
		return nil
	} else if known {
		return httpjson.Errorf(http.StatusConflict, "the same post is in progress")
	}
	err := do()
	if err != nil {
		s.sent.Remove(key)
		return err
	}
	s.sent.Add(key, true)
	return nil
}
