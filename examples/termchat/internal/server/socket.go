package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/wsconn"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// socket is one open WebSocket. Three goroutines share it: the handler's own writes what the
// subscription delivers, one reads what the client posts, and one pings. Whatever ends first closes
// the subscription or the connection, which ends the others.
type socket struct {
	server *server
	who    member
	ws     *websocket.Conn
	conn   *wsconn.Conn
	sub    *broadcast.Subscriber[message]
	log    *slog.Logger
}

// farewell says how a socket is to be closed.
type farewell struct {
	code   websocket.StatusCode // 0: the client has closed it, or there is nobody to tell
	reason string
}

var tooSlow = farewell{websocket.StatusTryAgainLater, "too slow: a frame was not read in time"}

// run serves the socket until it ends, and returns when none of its goroutines is left.
func (k *socket) run(hello wire.Frame) {
	var helpers sync.WaitGroup
	left := make(chan farewell, 2) // why the reader or the pinger closed the subscription
	closed := make(chan struct{})
	helpers.Go(func() { k.read(left) })
	helpers.Go(func() { k.ping(closed, left) })

	delivered := k.send(hello)
	if delivered == nil {
		delivered = k.deliver()
	}
	end := k.farewell(delivered, left)
	k.close(end, delivered != nil)
	close(closed)
	helpers.Wait()
	k.log.Debug("socket closed", "code", int(end.code), "reason", end.reason)
}

// deliver writes frames until the subscription has ended and everything that was buffered is
// written, or a write fails. The deadline of a write is set on the connection and not in its
// context, because a context with a deadline costs eleven allocations.
func (k *socket) deliver() error {
	for d := range k.sub.All(context.Background()) {
		if err := k.write(d); err != nil {
			return err
		}
	}
	return nil
}

func (k *socket) write(d broadcast.Delivery[message]) error {
	if d.Kind != broadcast.Published {
		return k.send(presence(d, func() []string { return k.server.broker.Devices(k.who.room) }))
	}
	frame := frames.Get().(*[]byte)
	defer frames.Put(frame)
	*frame = appendFrame((*frame)[:0], d)
	return k.ws.Write(context.Background(), websocket.MessageText, *frame)
}

// frames holds buffers for frames that are being written, so that a quiet socket keeps none.
var frames = sync.Pool{New: func() any { return new([]byte) }}

// send writes a frame that is for this socket alone.
func (k *socket) send(f wire.Frame) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return k.ws.Write(context.Background(), websocket.MessageText, b)
}

// read takes what the client posts, and answers its pings and closing frame. When the client leaves
// or breaks the rules, the subscription ends. Before that, read stores in left how to close the
// socket.
func (k *socket) read(left chan<- farewell) {
	k.ws.SetReadLimit(wire.MaxFrame)
	left <- k.readPosts()
	_ = k.sub.Close() // never fails
}

func (k *socket) readPosts() farewell {
	for {
		kind, frame, err := k.ws.Read(context.Background())
		switch {
		case errors.Is(err, websocket.ErrMessageTooBig):
			return farewell{websocket.StatusMessageTooBig, "message too big"}
		case err != nil:
			return farewell{}
		case kind != websocket.MessageText:
			return farewell{websocket.StatusUnsupportedData, "frames must be text"}
		}
		post, err := decodePost(frame)
		if err != nil {
			return farewell{websocket.StatusPolicyViolation, "a frame must be one JSON object with id and text"}
		}
		switch err := k.send(k.take(post)); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return tooSlow
		case err != nil:
			return farewell{}
		}
	}
}

func decodePost(frame []byte) (post wire.Post, err error) {
	dec := json.NewDecoder(bytes.NewReader(frame))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&post); err != nil {
		return post, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return post, errors.New("two values")
	}
	return post, nil
}

// take publishes a post and returns the answer to it. An ack means that everybody in the room will
// get it or be told that they missed it; a refusal means that nobody will ever get it.
func (k *socket) take(post wire.Post) wire.Frame {
	err := wire.CheckText(post.Text)
	if err == nil {
		f := wire.Frame{Kind: wire.KindMessage, Name: k.who.name, Text: post.Text, At: time.Now().UTC()}
		err = k.server.publish(context.Background(), k.who.room, f)
	}
	if err != nil {
		return wire.Frame{Kind: wire.KindRefused, ID: post.ID, Text: err.Error()}
	}
	return wire.Frame{Kind: wire.KindAck, ID: post.ID}
}

// publish publishes a message in a room.
func (s *server) publish(ctx context.Context, room string, f wire.Frame) error {
	msg, err := newMessage(f)
	if err != nil {
		return err
	}
	if err := s.broker.Publish(ctx, room, msg); err != nil {
		return roomRefusal(err)
	}
	return nil
}

// ping finds out whether the client is still there: a process that was suspended, or has lost its
// power or its network, closes nothing.
func (k *socket) ping(closed <-chan struct{}, left chan<- farewell) {
	ticker := time.NewTicker(k.server.cfg.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-closed:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), k.server.cfg.PingTimeout)
		err := k.ws.Ping(ctx)
		cancel()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// There may be room for a closing frame: a process that was only suspended finds it
			// when it continues.
			left <- farewell{websocket.StatusTryAgainLater, "too slow: no answer to a ping"}
			_ = k.sub.Close() // never fails
			return
		}
	}
}

// farewell returns how to close the socket, given the write error that ended deliver, or nil if the
// subscription has ended.
func (k *socket) farewell(delivered error, left <-chan farewell) farewell {
	switch reason := k.sub.Err(); {
	case errors.Is(delivered, os.ErrDeadlineExceeded):
		return tooSlow
	case errors.Is(reason, broadcast.ErrReplaced):
		return farewell{wire.StatusReplaced, "replaced"}
	case errors.Is(reason, broadcast.ErrSlow):
		return farewell{websocket.StatusTryAgainLater, "too slow: the buffer was full"}
	}
	select {
	case end := <-left:
		return end
	default:
	}
	if delivered != nil {
		return farewell{} // the connection has broken, and the reader is about to find that out
	}
	return farewell{websocket.StatusGoingAway, "the server is stopping"}
}

// close sends the closing frame and waits a moment for the client's. A closing frame cannot follow
// half a frame that is stuck in the connection: then the reason is kept until the client comes
// back. stuck says that a write has failed, which Close may not report.
func (k *socket) close(end farewell, stuck bool) {
	if end.code != 0 {
		k.conn.EndReading(k.server.cfg.CloseTimeout) // all of it, the rest of a message that was too big included
		err := k.ws.Close(end.code, end.reason)
		if (stuck || err != nil) && end.code == websocket.StatusTryAgainLater {
			k.server.noteCut(k.who, end.reason)
		}
	}
	_ = k.conn.Close()
	_ = k.ws.CloseNow() // frees what the library holds
}
