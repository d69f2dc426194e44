package main

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// idReplaced is the id of the event that tells a stream of its replacement. An EventSource reconnects whatever it is told, and would
// take the device back; but it says what it saw last, and is answered 204, which makes it give up.
const idReplaced = "replaced"

// watch is what a request for a stream asks for.
type watch struct {
	chat, device httpjson.ID
	last         string // the client's last event id; empty: none
	replay       int    // messages to begin with, if last is empty
}

// events answers GET /events?chat=1&device=2 with a stream of the chat's messages.
//
// The subscription exists before the answer begins: a client that has seen the ready event misses nothing from then on.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	asked, err := s.readWatch(r)
	if err != nil {
		return err
	}
	if asked.last == idReplaced {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if !s.streams.Enter() {
		return errDraining
	}
	defer s.streams.Leave()
	sub, beginning, err := s.subscribe(asked)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }() // never fails

	ctx, cancel := context.WithCancel(r.Context()) // which ends when the client leaves
	defer cancel()
	defer context.AfterFunc(s.running, cancel)()
	err = newStream(w, sub, beginning.Missed, s.cfg).run(ctx, beginning)
	s.log.Debug("stream ended", "chat", asked.chat, "device", asked.device, "err", err)
	return nil
}

// readWatch returns what a request asks for, or why it may not have it. Because a subscription takes over from an older one
// of the same device, whatever a browser could be made to send is judged before it.
func (s *Server) readWatch(r *http.Request) (asked watch, err error) {
	if err := s.origins.CheckAsPost(r); err != nil {
		return asked, err
	}
	query := r.URL.Query()
	if asked.chat, err = httpjson.QueryID(query, "chat"); err != nil {
		return asked, err
	}
	if asked.device, err = httpjson.QueryID(query, "device"); err != nil {
		return asked, err
	}
	if asked.replay, err = s.queryReplay(query); err != nil {
		return asked, err
	}
	if asked.last, err = httpjson.Query(query, "lastEventId"); err != nil {
		return asked, err
	}
	// A browser that reconnects repeats the query of its first request; what it has seen since is in the header.
	if header := r.Header.Get("Last-Event-ID"); header != "" {
		asked.last = header
	}
	return asked, s.authorize(r, asked.chat, asked.device)
}

// queryReplay returns how many messages a client without a last event id wants to begin with: none, if it does not say.
func (s *Server) queryReplay(query url.Values) (int, error) {
	text, err := httpjson.Query(query, "replay")
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, httpjson.Bad("replay", "replay must be an integer from 0 to %d", math.MaxInt32)
	}
	return min(int(n), s.cfg.History), nil // more are never kept
}

// subscribe returns a subscription that begins where the client's last stream ended, or, if that is not possible, with everything that
// is kept; and what to tell the client of it. The notice has a Reason exactly if there is, or may be, a gap.
func (s *Server) subscribe(asked watch) (*broadcast.Subscriber[message], notice, error) {
	var position broadcast.Position
	malformed := position.UnmarshalText([]byte(asked.last)) != nil
	replay := asked.replay
	if asked.last != "" {
		replay = s.cfg.History
	}
	sub, err := s.broker.Subscribe(
		asked.chat.String(), asked.device.String(),
		broadcast.Resume(position), broadcast.Replay(replay), // the latter counts if the former is none or not of this log
	)
	switch {
	case errors.Is(err, broadcast.ErrLimit):
		return nil, notice{}, errLimit
	case errors.Is(err, broadcast.ErrClosed):
		return nil, notice{}, errDraining
	case err != nil:
		return nil, notice{}, err
	case asked.last == "":
		return sub, notice{}, nil
	case malformed:
		return sub, notice{Reason: "the last event id is none of this server"}, nil
	case sub.Position() != position: // it did not join there
		return sub, notice{Reason: "the chat was forgotten meanwhile"}, nil
	case !sub.Recovered():
		return sub, notice{Reason: "messages are not kept any more", Missed: sub.Stats().Missed}, nil
	}
	return sub, notice{Resumed: true}, nil
}
