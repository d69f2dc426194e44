package server

import (
	"net/http"
	"net/url"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/wsconn"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// join answers GET /ws?room=general&name=ann&after=POSITION with a WebSocket: the client sends
// posts, and gets a hello and then everything that happens in the room. Without after, it begins
// with the last messages; with after, with what came since.
//
// The subscription exists before the upgrade is answered: a client that has seen the answer misses
// nothing from then on. Because a subscription takes over from an older one of the same name,
// requests that a foreign page could make a browser send are refused before it.
func (s *server) join(w http.ResponseWriter, r *http.Request) error {
	who, after, err := s.admit(w, r)
	if err != nil {
		return err
	}
	if !s.sockets.Enter() {
		return errStopping
	}
	defer s.sockets.Leave()
	sub, hello, err := s.subscribe(who, after)
	if err != nil {
		return roomRefusal(err)
	}
	defer func() { _ = sub.Close() }() // never fails; ended already, unless Accept has failed

	upgrade := &wsconn.Hijacker{ResponseWriter: w, WriteTimeout: s.cfg.WriteTimeout, SendBuffer: s.cfg.SendBuffer}
	ws, err := websocket.Accept(upgrade, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer s.conns.Add(upgrade.Conn)()
	hello.Was = s.takeCut(who)
	// From here on r.Context() means nothing: it belongs to a connection that is no longer
	// net/http's.
	k := &socket{server: s, who: who, ws: ws, conn: upgrade.Conn, sub: sub}
	k.log = s.log.With("room", who.room, "name", who.name)
	k.run(hello)
	return nil
}

// admit returns who wants to join which room, from which position on, or why they may not.
func (s *server) admit(w http.ResponseWriter, r *http.Request) (who member, after broadcast.Position, err error) {
	if err := s.origins.CheckAsPost(r); err != nil {
		return who, after, err
	}
	query := r.URL.Query()
	if who.room, who.name, err = claim(query); err != nil {
		return who, after, err
	}
	if after, err = position(query); err != nil {
		return who, after, err
	}
	if err := wsconn.CheckHandshake(w, r); err != nil {
		return who, after, err
	}
	who.name, err = s.identity(r, who.room, who.name)
	return who, after, err
}

// position returns where the client wants to resume, or the zero Position if it does not.
func position(query url.Values) (p broadcast.Position, err error) {
	if !query.Has("after") {
		return p, nil
	}
	text, err := once(query, "after")
	if err == nil && p.UnmarshalText([]byte(text)) != nil {
		err = httpjson.Errorf(http.StatusBadRequest, "after is not a position")
	}
	return p, err
}

// subscribe makes somebody a member, and returns what to tell them first.
func (s *server) subscribe(who member, after broadcast.Position) (*broadcast.Subscriber[message], wire.Frame, error) {
	hello := wire.Frame{Kind: wire.KindHello, Room: who.room, Name: who.name}
	start := broadcast.Resume(after)
	if after == (broadcast.Position{}) {
		start = broadcast.Replay(s.cfg.Replay)
	}
	sub, err := s.broker.Subscribe(who.room, who.name, broadcast.WithPresence(), start)
	if err != nil {
		return nil, hello, err
	}
	if after != (broadcast.Position{}) {
		hello.Missed = sub.Stats().Missed
		hello.Resumed = wire.Complete
		switch {
		case hello.Missed > 0:
			hello.Resumed = wire.Gone
		case !sub.Recovered():
			// The room was forgotten meanwhile, or the server restarted: everything that is kept is
			// new to the client. The device takes over from itself.
			hello.Resumed = wire.Unknown
			sub, err = s.broker.Subscribe(who.room, who.name, broadcast.WithPresence(), broadcast.Replay(s.cfg.Replay))
			if err != nil {
				return nil, hello, err
			}
		}
	}
	// In this order, so that nothing that happens in between is missed; to be told twice does no
	// harm.
	hello.Members = s.broker.Devices(who.room)
	hello.Pos = sub.Position().String()
	return sub, hello, nil
}
