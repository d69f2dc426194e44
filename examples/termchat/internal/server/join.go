package server

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// join answers GET /ws?room=general&name=ann&after=POSITION with a WebSocket: the client sends posts, and gets a hello and then everything that
// happens in the room. Without after it begins with the last messages, with it with what came since.
//
// The subscription exists before the upgrade is answered: a client that has seen the answer misses nothing from then on. Because a
// subscription takes over from an older one of the same name, whatever a browser could be made to send is judged before it.
func (s *server) join(w http.ResponseWriter, r *http.Request) error {
	who, after, err := s.admit(w, r)
	if err != nil {
		return err
	}
	if !s.enter(&s.sockets) {
		return errStopping
	}
	defer s.sockets.Done()
	sub, hello, err := s.subscribe(who, after)
	if err != nil {
		return roomRefusal(err)
	}
	defer func() { _ = sub.Close() }() // never fails; ended already, unless Accept has failed

	upgrade := &hijacker{ResponseWriter: w, cfg: s.cfg}
	ws, err := websocket.Accept(upgrade, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer s.remember(upgrade.conn)()
	hello.Was = s.takeCut(who)
	// From here on r.Context() means nothing: it belongs to a connection that is no longer net/http's.
	k := &socket{server: s, who: who, ws: ws, conn: upgrade.conn, sub: sub}
	k.log = s.log.With("room", who.room, "name", who.name)
	k.run(hello)
	return nil
}

// admit returns who wants to join what from where on, or why they may not.
func (s *server) admit(w http.ResponseWriter, r *http.Request) (who member, after broadcast.Position, err error) {
	if s.foreign(r) {
		return who, after, errForeign
	}
	query := r.URL.Query()
	if who.room, who.name, err = claim(query); err != nil {
		return who, after, err
	}
	if after, err = position(query); err != nil {
		return who, after, err
	}
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return who, after, refuse(http.StatusUpgradeRequired, "this address is for WebSockets")
	}
	who.name, err = s.identity(r, who.room, who.name)
	return who, after, err
}

// position returns where the client wants to resume; the zero Position if it does not.
func position(query url.Values) (p broadcast.Position, err error) {
	if !query.Has("after") {
		return p, nil
	}
	text, err := once(query, "after")
	if err == nil && p.UnmarshalText([]byte(text)) != nil {
		err = refuse(http.StatusBadRequest, "after is not a position")
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
			// The room was forgotten meanwhile, or the server began anew: all that there is is news. The device takes over from itself.
			hello.Resumed = wire.Unknown
			sub, err = s.broker.Subscribe(who.room, who.name, broadcast.WithPresence(), broadcast.Replay(s.cfg.Replay))
			if err != nil {
				return nil, hello, err
			}
		}
	}
	// In this order: what happens in between is told as well, and twice does no harm.
	hello.Members = s.broker.Devices(who.room)
	hello.Pos = sub.Position().String()
	return sub, hello, nil
}

// foreign tells whether a page of another site sent r. CrossOriginProtection lets every GET pass because a GET changes nothing; the
// one that opens a WebSocket does, and a browser sends it for any page, with cookies. So it is judged as a POST.
func (s *server) foreign(r *http.Request) bool {
	asPost := r.WithContext(r.Context())
	asPost.Method = http.MethodPost
	return s.origins.Check(asPost) != nil
}

// hasToken tells whether a comma-separated header contains token, in any case.
func hasToken(header http.Header, name, token string) bool {
	for _, line := range header.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// hijacker is a ResponseWriter that gives the connection away as a [wire.Conn] and keeps it: closing the connection itself
// is the only thing that ends a WebSocket at once, whatever it is doing.
type hijacker struct {
	http.ResponseWriter
	cfg  Config
	conn *wire.Conn // set by Hijack
}

// Hijack implements [http.Hijacker].
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	// What the kernel buffers is a buffer too, beside the broker's, and one in which nothing is counted. By default it grows to
	// megabytes: thousands of messages between a slow client and the first sign that it is slow.
	if tcp, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = tcp.SetWriteBuffer(h.cfg.SendBuffer) // without it, a slow client is noticed later
	}
	h.conn = &wire.Conn{Conn: conn, WriteTimeout: h.cfg.WriteTimeout}
	rw.Writer.Reset(h.conn)
	return h.conn, rw, nil
}
