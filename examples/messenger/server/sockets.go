package server

import (
	"encoding/json"
	"net/http"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/names"
)

const replay = 50 // messages that a newcomer begins with

// admit says who may watch what at GET /chats/{chat}/socket?device=ID&after=POSITION.
func (s *Server) admit(r *http.Request) (t broadcastws.Ticket, err error) {
	who, chat, err := s.allowed(r)
	if err != nil {
		return t, err
	}
	device := r.URL.Query().Get("device")
	if err := names.CheckID("device", device); err != nil {
		return t, err
	}
	if t.Ended, err = s.clients.Enter(r); err != nil {
		return t, err
	}
	t.Chat, t.Device = chat, who+"/"+device // takes over from its own broken socket, and nobody else's
	t.Subscribe = []broadcast.SubscribeOption{broadcast.WithPresence()}
	err = s.makingRoom(r.Context(), chat, func() error {
		_, err := s.broker.Head(r.Context(), chat)
		return err
	})
	if err != nil {
		t.Ended()
	}
	return t, err
}

// appendEvent adds to the first event who is there.
func appendEvent(dst []byte, e broadcastws.Event) []byte {
	dst = broadcastws.AppendEvent(dst, e)
	if e.Kind != broadcastws.Ready && e.Kind != broadcastws.Reset {
		return dst
	}
	devices, _ := json.Marshal(e.Present()) // cannot fail
	return append(append(append(dst[:len(dst)-1], `,"devices":`...), devices...), '}')
}
