package server

import (
	"net/http"
	"regexp"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/limit"
)

const replay = 50 // messages that a newcomer begins with

// isID matches the ids that clients make up.
var isID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// admit says who may watch what at GET /chats/{chat}/socket?device=ID&after=POSITION.
func (s *Server) admit(r *http.Request) (t broadcastws.Ticket, err error) {
	who, chat, err := s.allowed(r)
	if err != nil {
		return t, err
	}
	device := r.URL.Query().Get("device")
	if !isID.MatchString(device) {
		return t, httpjson.Bad("device", "device must be 1 to 64 letters, digits, - and _")
	}
	if t.Ended, err = s.clients.Enter(limit.Client(r, s.cfg.Proxy)); err != nil {
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
