package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/wsconn"
)

// maxFrame is the largest message that a client may send, in bytes, before it is told that it may send none.
const maxFrame = 4 << 10

// statusReplaced closes a socket whose device has opened another one; a client must not reconnect after it.
const statusReplaced websocket.StatusCode = 4001

// watch answers GET /ws?chat=1&device=2 with a WebSocket that gets every message of the chat from now on as one text frame;
// with after=POSITION those since then, so that a client that was away has missed nothing. With events=1 it also begins with
// the last few messages, and is told among them who comes and goes.
//
// The subscription exists before the upgrade is answered: a client that has seen the answer misses nothing from then on. Because a
// subscription takes over from an older one of the same device, whatever a browser could be made to send is judged before it.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) error {
	want, err := s.admit(w, r)
	if err != nil {
		return err
	}
	if !s.sockets.Enter() {
		return errShuttingDown
	}
	defer s.sockets.Leave()
	sub, first, err := s.subscribe(want)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }() // never fails; ended already, unless Accept has failed

	upgrade := &wsconn.Hijacker{ResponseWriter: w, WriteTimeout: s.cfg.WriteTimeout, SendBuffer: s.cfg.SendBuffer}
	ws, err := websocket.Accept(upgrade, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer s.conns.Add(upgrade.Conn)()
	// From here on r.Context() means nothing: it belongs to a connection that is no longer net/http's.
	k := &socket{ws: ws, conn: upgrade.Conn, sub: sub, cfg: s.cfg, chat: want.chat, present: s.present}
	k.log = s.log.With("chat", want.chat, "device", want.device)
	k.run(first)
	return nil
}

// subscribe returns the subscription that was asked for, and the first frame that tells of it, if events are wanted.
func (s *Server) subscribe(want wish) (sub *broadcast.Subscriber[message], first []byte, err error) {
	options := []broadcast.SubscribeOption{broadcast.Resume(want.after)}
	if want.events {
		// The replay is for those without a position, and those whose position means nothing here, as after a restart.
		options = append(options, broadcast.Replay(s.cfg.Replay), broadcast.WithPresence())
	}
	sub, err = s.broker.Subscribe(want.chat.String(), want.device.String(), options...)
	if err != nil {
		return nil, nil, subscribeRefusal(err)
	}
	if want.events {
		first = appendJSON(nil, newReady(sub, want.chat, want.after, s.present(want.chat)))
	}
	return sub, first, nil
}

// wish is what a request for a WebSocket asks for.
type wish struct {
	chat, device httpjson.ID
	after        broadcast.Position // the zero position: nothing to resume
	events       bool               // and a replay, not only messages
}

// admit returns what a request wants to watch, or why it may not.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (want wish, err error) {
	if err := s.origins.CheckAsPost(r); err != nil {
		return want, err
	}
	query := r.URL.Query()
	if want.chat, err = httpjson.QueryID(query, "chat"); err != nil {
		return want, err
	}
	if want.device, err = httpjson.QueryID(query, "device"); err != nil {
		return want, err
	}
	if want.after, err = queryPosition(query, "after"); err != nil {
		return want, err
	}
	if want.events, err = queryFlag(query, "events", "1"); err != nil {
		return want, err
	}
	if err := wsconn.CheckHandshake(w, r); err != nil {
		return want, err
	}
	want.device, err = s.identity(r, want.chat, want.device)
	return want, err
}

// queryPosition returns the position that a query gives at most once: none is the zero position, as is an empty one.
func queryPosition(query url.Values, field string) (p broadcast.Position, err error) {
	text, err := httpjson.Query(query, field)
	if err == nil && text != "" && p.UnmarshalText([]byte(text)) != nil {
		err = httpjson.Bad(field, "%s must be one position, as it came with a message", field)
	}
	return p, err
}

// queryFlag tells whether a query gives a field, which can have only this value.
func queryFlag(query url.Values, field, value string) (bool, error) {
	text, err := httpjson.Query(query, field)
	if err == nil && query.Has(field) && text != value {
		err = httpjson.Bad(field, "%s can only be %s", field, value)
	}
	return text == value, err
}

// socket is one open WebSocket. Three goroutines share it: the handler's own writes what the subscription delivers, one reads, and one
// pings. Whatever ends first closes the subscription or the connection, which ends the others.
type socket struct {
	ws      *websocket.Conn
	conn    *wsconn.Conn
	sub     *broadcast.Subscriber[message]
	chat    httpjson.ID
	present func(chat httpjson.ID) []httpjson.ID // who is there
	cfg     Config
	log     *slog.Logger
}

// farewell is how a socket is closed.
type farewell struct {
	code   websocket.StatusCode // 0: the client has closed it, or there is nobody to tell
	reason string
}

// run serves the socket until its end, and returns when nothing of it is left. The first frame, if not empty, comes before all others.
func (k *socket) run(first []byte) {
	var helpers sync.WaitGroup
	left := make(chan farewell, 1)
	closed := make(chan struct{})
	helpers.Go(func() { k.read(left) })
	helpers.Go(func() { k.ping(closed) })

	end := k.farewell(k.deliver(first), left)
	k.close(end)
	close(closed)
	helpers.Wait()
	k.log.Debug("socket closed", "code", int(end.code), "reason", end.reason)
}

// deliver writes frames until the subscription has ended and everything that it still had is written, or a write fails. Frames are written
// with a context that never ends, because one with a deadline costs eleven allocations: the connection has the deadline.
func (k *socket) deliver(first []byte) error {
	if len(first) > 0 {
		if err := k.ws.Write(context.Background(), websocket.MessageText, first); err != nil {
			return err
		}
	}
	for d := range k.sub.All(context.Background()) {
		frame := frames.Get().(*[]byte)
		*frame = k.appendFrame((*frame)[:0], d)
		err := k.ws.Write(context.Background(), websocket.MessageText, *frame)
		frames.Put(frame)
		if err != nil {
			return err
		}
	}
	return nil
}

// appendFrame appends a delivery as the client gets it.
func (k *socket) appendFrame(frame []byte, d broadcast.Delivery[message]) []byte {
	switch d.Kind {
	case broadcast.Joined:
		return appendPresence(frame, eventJoined, d)
	case broadcast.Left:
		return appendPresence(frame, eventLeft, d)
	case broadcast.Resync:
		return appendJSON(frame, resync{eventResync, k.chat, d.Seq, k.present(k.chat)})
	}
	return appendMessage(frame, d)
}

// frames holds buffers for frames that are being written, so that a quiet socket keeps none.
var frames = sync.Pool{New: func() any { return new([]byte) }}

// read answers the client's pings and closing frame. A client that sends anything else, or leaves, ends the subscription; how to
// part with it is in left before that.
func (k *socket) read(left chan<- farewell) {
	k.ws.SetReadLimit(maxFrame)
	_, _, err := k.ws.Read(context.Background())
	switch {
	case err == nil:
		left <- farewell{websocket.StatusPolicyViolation, "this socket only sends: use POST /message"}
	case errors.Is(err, websocket.ErrMessageTooBig):
		left <- farewell{websocket.StatusMessageTooBig, "message too big"}
	default:
		left <- farewell{}
	}
	_ = k.sub.Close() // never fails
}

// ping finds out whether the other end is still there: a peer that lost its power or its network closes nothing.
func (k *socket) ping(closed <-chan struct{}) {
	ticker := time.NewTicker(k.cfg.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-closed:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), k.cfg.PingTimeout)
		err := k.ws.Ping(ctx)
		cancel()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			k.log.Debug("no answer to a ping", "err", err)
			_ = k.conn.Close() // the reader meets the error
			return
		}
	}
}

// farewell says how to close the socket, given how delivering ended: nil if with the subscription.
func (k *socket) farewell(delivered error, left <-chan farewell) farewell {
	switch reason := k.sub.Err(); {
	case errors.Is(delivered, os.ErrDeadlineExceeded):
		return farewell{websocket.StatusTryAgainLater, "too slow: a frame was not read in time"}
	case delivered != nil:
		return farewell{}
	case errors.Is(reason, broadcast.ErrReplaced):
		return farewell{statusReplaced, "replaced"}
	case errors.Is(reason, broadcast.ErrSlow):
		return farewell{websocket.StatusTryAgainLater, "too slow: the buffer was full"}
	case errors.Is(reason, broadcast.ErrStalled):
		return farewell{websocket.StatusTryAgainLater, "too slow: nothing was read for too long"}
	}
	select {
	case end := <-left:
		return end
	default:
		return farewell{websocket.StatusGoingAway, "the server is shutting down"}
	}
}

// close sends the closing frame and waits a moment for the client's. Where half a frame is stuck in the connection there is no place for
// a closing one, so a client that missed the deadline of a write finds the connection closed.
func (k *socket) close(end farewell) {
	if end.code != 0 {
		k.conn.EndReading(k.cfg.CloseTimeout) // all of it, the rest of a message that was too big included
		_ = k.ws.Close(end.code, end.reason)
	}
	_ = k.conn.Close()
	_ = k.ws.CloseNow() // frees what the library holds
}
