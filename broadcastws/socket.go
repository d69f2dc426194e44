package broadcastws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// A Conn is the socket of one client, for Receive.
type Conn struct {
	ticket Ticket
	framer framer
	conn   *stream.Conn
	end    func(reason error) // of the outlet
}

// Ticket returns the ticket that Admit returned for this client.
func (c *Conn) Ticket() Ticket { return c.ticket }

// Send sends one frame to this client alone. It may be called concurrently, and does not retain
// message. It blocks while the client does not read, at most for twice the WriteTimeout. Unless
// Binary is set, it does not send a message that is not UTF-8, and returns a
// [broadcast.ErrInvalid]. Any other error means that the socket is ending. The frame may overtake
// messages that were published before it.
func (c *Conn) Send(message []byte) error {
	if c.framer.opcode == opText && !utf8.Valid(message) {
		return stream.ErrNotText
	}
	frame := c.framer.AppendMessage(make([]byte, 0, len(message)+16), message, broadcast.Position{})
	_, err := c.conn.Write(frame)
	switch {
	case errors.Is(err, stream.ErrTimeout):
		c.end(stream.ErrTimeout)
	case err != nil:
		c.end(fmt.Errorf("%w: %w", stream.ErrLeft, err))
	}
	return err
}

// A socket is one open WebSocket. Two goroutines share it: one reads, and another writes what the
// subscription delivers, and pings. Whatever ends first ends the other.
type socket[T any] struct {
	server *Server[T]
	ws     *websocket.Conn
	wire   *wire
	out    *stream.Outlet[T]
	conn   *Conn
	ctx    context.Context // of Receive: the values of the request

	reason       error // of the end; the writer's until it has ended
	answered     bool  // the client has answered the close frame; likewise
	clientClosed bool  // the client has sent a close frame; the reader's until it has ended
}

// open answers a checked handshake and returns the socket, whose run the caller must call. If it
// fails, it closes the subscription and returns an error.
func (s *Server[T]) open(
	w http.ResponseWriter, r *http.Request, t Ticket, sub *broadcast.Subscriber[T], wish stream.Wish,
) (*socket[T], error) {
	o := &s.options
	up := &upgrade{ResponseWriter: w, open: func(conn net.Conn, early []byte) *stream.Conn {
		patience := 2*o.Ping + o.WriteTimeout // in which a live client answers a ping
		return stream.NewConn(conn, early, patience, o.WriteTimeout, o.SendBuffer, s.core.ShortOf(r))
	}}
	var upgraded *wire // by itself: up would keep the response, and with it what net/http holds
	ws, err := websocket.Accept(up, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // Check has verified the origin
		Subprotocols:       o.Subprotocols,
		CompressionMode:    o.compressionMode(),
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			upgraded.pong(payload)
			return false
		},
	})
	if err != nil { // of Hijack: Check has found what else Accept refuses
		_ = sub.Close()          // never fails
		s.core.Refuse(w, r, err) // which logs and counts it: Accept has begun to answer with 101
		return nil, err
	}
	upgraded = up.wire
	packed := w.Header().Get("Sec-WebSocket-Extensions") != ""
	k := &socket[T]{server: s, ws: ws, wire: up.wire}
	k.out = s.core.NewOutlet(r, sub, wish, up.wire.Conn, packed)
	k.conn = &Conn{t, framer{dataOpcode(o.Binary)}, up.wire.Conn, k.out.End}
	s.core.Add(k.out)
	// From here on the context of the request is of no use, because net/http no longer owns the
	// connection. Its values remain valid.
	k.ctx = context.WithoutCancel(r.Context())
	return k, nil
}

func (o *Options[T]) compressionMode() websocket.CompressionMode {
	if o.Compression {
		return websocket.CompressionNoContextTakeover
	}
	return websocket.CompressionDisabled
}

// run serves the socket until it ends, and returns the reason when both goroutines have ended.
func (k *socket[T]) run() (reason error) {
	defer k.server.core.Remove(k.out)
	ctx, cancel := context.WithCancel(k.ctx)
	var writer sync.WaitGroup
	writer.Go(func() { k.write(cancel) })
	ended := stream.ErrLeft // in case that Receive ends the goroutine
	defer func() {
		k.out.End(ended)
		writer.Wait()
		k.hangUp()
		k.out.Close()
		reason = k.out.Reason(k.reason)
		k.server.core.TellClosed(k.out.About(), reason)
	}()
	ended = k.read(ctx)
	if errors.Is(ended, stream.ErrSilent) && ctx.Err() != nil {
		ended = stream.ErrLeft // or whatever the writer knows, which has interrupted the reader
	}
	return ended
}

// write delivers until the end, and then closes the WebSocket. cancel ends what Receive is doing.
func (k *socket[T]) write(cancel context.CancelFunc) {
	k.reason = stream.ErrLeft // in case that a function of the options ends the goroutine
	defer k.wire.Interrupt()  // the reader
	defer cancel()
	k.server.core.TellOpened(k.out.About())
	k.reason = k.out.Run()
	cancel()
	k.close()
}

// close tells the client why the socket ends, unless the client has ended it.
func (k *socket[T]) close() {
	k.wire.Hurry(k.server.options.CloseTimeout)
	if errors.Is(k.reason, stream.ErrLeft) || errors.Is(k.reason, stream.ErrSilent) {
		return
	}
	code, text := k.server.core.CloseCodeOf(k.reason, k.out.About())
	_ = k.out.SendEnded(code, text, k.reason) // the client may as well have gone
	k.answered = k.ws.Close(websocket.StatusCode(code), cut(text)) == nil
}

// hangUp closes the connection. If a close frame was written and the client has not sent one, the
// client gets time to read it.
func (k *socket[T]) hangUp() {
	_ = k.ws.CloseNow() // frees what the library holds
	if k.wire.closing.Load() && !k.clientClosed && !k.answered {
		k.wire.HangUp()
		return
	}
	k.wire.Conn.Close()
}

// read reads until the end, and returns its reason.
func (k *socket[T]) read(ctx context.Context) error {
	k.ws.SetReadLimit(int64(k.server.options.MaxFrame))
	for {
		kind, message, err := k.next()
		switch {
		case err != nil:
			return err
		case k.server.options.Receive == nil:
			return &stream.CodeError{Code: 1008, Text: "this socket only sends"}
		case kind == websocket.MessageText && !utf8.Valid(message):
			return &stream.CodeError{Code: invalidPayload, Text: "text that is not UTF-8"}
		}
		switch err := k.receive(ctx, message); {
		case errors.Is(err, broadcast.ErrClosed), errors.Is(err, broadcast.ErrEnded):
			k.out.Finish(err)
			return k.ignore()
		case err != nil:
			return err
		}
	}
}

// ignore reads until the end, and returns its reason. It is for a client that has posted to what
// has ended: it gets what was accepted before, as do those that have only listened.
func (k *socket[T]) ignore() error {
	for {
		if _, _, err := k.next(); err != nil {
			return err
		}
	}
}

// next reads a message, and answers control frames before it.
func (k *socket[T]) next() (websocket.MessageType, []byte, error) {
	kind, r, err := k.ws.Reader(context.Background())
	if err == nil && k.server.options.Receive == nil {
		return kind, nil, nil // whatever it is
	}
	var message []byte
	if err == nil {
		message, err = io.ReadAll(r)
	}
	if err != nil {
		err = k.reasonOf(err)
	}
	return kind, message, err
}

// reasonOf returns what an error of the reader says about the end.
func (k *socket[T]) reasonOf(err error) error {
	switch {
	case websocket.CloseStatus(err) != -1:
		k.clientClosed = true
		return fmt.Errorf("%w: %w", stream.ErrLeft, err)
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &stream.CodeError{Code: 1009, Text: "message too big"}
	}
	if broken := k.wire.readErr.Load(); broken != nil {
		if errors.Is(*broken, os.ErrDeadlineExceeded) {
			return stream.ErrSilent
		}
		return fmt.Errorf("%w: %w", stream.ErrLeft, *broken)
	}
	return &stream.CodeError{Code: 1002, Text: "the client broke the protocol"}
}

// receive calls Receive. An error that the table of close codes does not know is logged, unless the
// socket has ended meanwhile: then no error of Receive is the reason.
func (k *socket[T]) receive(ctx context.Context, message []byte) error {
	err := k.callReceive(ctx, message)
	switch {
	case err != nil && ctx.Err() != nil:
		return stream.ErrLeft // or whatever the writer knows
	case err != nil && stream.IsInternal(err):
		k.server.core.Fail("Receive failed", k.out.About(), err)
	}
	return err
}

func (k *socket[T]) callReceive(ctx context.Context, message []byte) (err error) {
	defer stream.RecoverAs(&err)
	return k.server.options.Receive(ctx, k.conn, message)
}

// cut returns the longest prefix of a text, in whole runes, that fits into a close frame.
func cut(text string) string {
	const longest = 123
	if len(text) <= longest {
		return text
	}
	n := longest
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
