package main

import (
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

// post answers POST /message: 202 means that the message was accepted and that everybody who watches the chat will get it or be told
// that it is missing; any other answer means that nobody ever will.
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	p, err := post.Read(w, r)
	if err != nil {
		return err
	}
	if p.By, err = s.identity(r, p.Chat, p.By); err != nil {
		return err
	}
	msg, err := newMessage(p, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := s.broker.Publish(r.Context(), p.Chat.String(), msg); err != nil {
		return publishRefusal(err)
	}
	httpjson.Write(w, http.StatusAccepted, struct {
		Chat httpjson.ID `json:"chat"`
	}{p.Chat})
	return nil
}
