package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// identity returns the user who makes a request. name is what the request itself says.
//
// This is the one place that authenticates and authorises. It is called before every subscription,
// before a byte of an upload is read, and before a download, with the room that the request is
// about. If some users may enter only some rooms, refuse them here. Without a secret, it trusts
// every claim. A subscription takes over from an older one of the same name, so a false claim can
// also end somebody's connection.
func (s *server) identity(r *http.Request, room, name string) (string, error) {
	if s.cfg.identity != nil {
		return s.cfg.identity(r, room, name)
	}
	if s.cfg.Secret == "" {
		return name, nil
	}
	who, err := s.cfg.Secret.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err == nil && name != "" && name != who {
		err = &broadcastws.Refusal{Status: http.StatusForbidden, Text: "the token is for another name"}
	}
	return who, err
}

// allowed returns the room that a request is about, and who makes it.
func (s *server) allowed(r *http.Request) (room, name string, err error) {
	if err = s.refusing(); err != nil {
		return "", "", err
	}
	query := r.URL.Query()
	if len(query["name"]) > 1 {
		return "", "", httpjson.Bad("name is given twice")
	}
	if room, err = wire.Name("room", r.PathValue("room")); err != nil {
		return "", "", err
	}
	if name = query.Get("name"); name != "" {
		if name, err = wire.Name("name", name); err != nil {
			return "", "", err
		}
	}
	if name, err = s.identity(r, room, name); err != nil {
		return "", "", err
	}
	name, err = wire.Name("name", name)
	return room, name, err
}

// admit is for GET /rooms/{room}/socket?name=ann&after=POSITION. The client gets a WebSocket with
// everything that happens in the room. It begins after the position, or with the last messages if
// there is none.
func (s *server) admit(r *http.Request) (t broadcastws.Ticket, err error) {
	t.Chat, t.Device, err = s.allowed(r)
	t.Subscribe = []broadcast.SubscribeOption{broadcast.WithPresence()}
	return t, err
}

// receive publishes the text that a client has sent, and answers. Accepted means that everybody in
// the room gets the message or is told that they missed it; Refused, that nobody ever gets it.
func (s *server) receive(ctx context.Context, c *broadcastws.Conn, text []byte) error {
	t, answer := c.Ticket(), wire.Answer{Event: wire.Accepted}
	err := wire.CheckText(string(text))
	if err == nil {
		err = s.publish(ctx, t.Chat, wire.Message{Name: t.Device, At: time.Now().UTC(), Text: string(text)})
	}
	if err != nil {
		answer = wire.Answer{Event: wire.Refused, Reason: broadcastws.RefusalOf(err).Error()}
	}
	frame, err := json.Marshal(answer)
	if err == nil {
		_ = c.Send(frame) // fails only when the socket ends
	}
	return err
}

// publish publishes a message in a room, even if its client no longer waits for the answer.
func (s *server) publish(ctx context.Context, room string, m wire.Message) error {
	return s.broker.Publish(context.WithoutCancel(ctx), room, m)
}

var errStopping = &broadcastws.Refusal{Status: http.StatusServiceUnavailable, Text: "the server is stopping", RetryAfter: 2 * time.Second}
