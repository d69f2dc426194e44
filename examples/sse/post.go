package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

// post answers POST /message: 202 means that the message was accepted, and that everybody who watches the chat will get it or be
// told that it is missing; any other answer means that nobody ever will.
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	p, err := post.Read(w, r)
	if err != nil {
		return err
	}
	if err := s.authorize(r, p.Chat, p.By); err != nil {
		return err
	}
	switch err := s.broker.Publish(r.Context(), p.Chat.String(), newMessage(p, time.Now().UTC())); {
	case errors.Is(err, broadcast.ErrOverloaded):
		return errBusy
	case errors.Is(err, broadcast.ErrLimit): // a message makes its chat, to keep it for those who come later
		return errLimit
	case errors.Is(err, broadcast.ErrClosed):
		return errDraining
	case err != nil:
		return err // the client has gone while its post was waiting
	}
	httpjson.Write(w, http.StatusAccepted, map[string]httpjson.ID{"chat": p.Chat})
	return nil
}
