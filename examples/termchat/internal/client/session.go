package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/wsconn"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// session is one connection to a room. One goroutine reads it; anybody may post.
type session struct {
	ws       *websocket.Conn
	conn     *wsconn.Conn
	unfollow func() bool
	left     sync.WaitGroup // the goroutine that closes the connection, if the client leaves

	mu      sync.Mutex
	ended   bool
	last    uint64                // the number of the last post
	answers map[uint64]chan error // of the posts that wait for an answer; each gets one
}

const (
	writeTimeout   = 10 * time.Second
	partingTimeout = 2 * time.Second // for the server's part of the closing handshake
	receiveBuffer  = 64 << 10        // bytes that the kernel holds: more would only hide that a client is behind
)

// dial connects to a room, resuming after a position in its log, and returns the session and the
// hello. The connection is closed when ctx ends; the caller must call end in any case.
func dial(ctx context.Context, o Options, room, after string) (*session, wire.Frame, error) {
	s := &session{answers: make(map[uint64]chan error)}
	dialing, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(receiveBuffer) // without it, the client is noticed to be slow later
		}
		s.conn = &wsconn.Conn{Conn: conn, ReadTimeout: o.Idle, WriteTimeout: writeTimeout}
		return s.conn, nil
	}}
	defer transport.CloseIdleConnections()
	query := url.Values{"room": {room}, "name": {o.Name}}
	if after != "" {
		query.Set("after", after)
	}
	address := url.URL{Scheme: "ws", Host: o.Addr, Path: "/ws", RawQuery: query.Encode()}
	ws, res, err := websocket.Dial(dialing, address.String(), &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, wire.Frame{}, refused(res, err)
	}
	s.ws = ws
	ws.SetReadLimit(1 << 20) // a hello names everybody
	s.left.Add(1)
	stop := context.AfterFunc(ctx, s.part)
	s.unfollow = func() bool {
		stopped := stop()
		if stopped {
			s.left.Done()
		}
		return stopped
	}
	hello, err := s.read()
	if err == nil && hello.Kind != wire.KindHello {
		err = errors.New("this is not a termchat server")
	}
	if err != nil {
		s.end()
		return nil, wire.Frame{}, err
	}
	return s, hello, nil
}

// refused returns what a failed handshake means. If the request was at fault, trying again would
// not help.
func refused(res *http.Response, err error) error {
	if res == nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // the address with its query is no news
		}
		return err
	}
	why := statusError(res)
	if res.StatusCode >= 400 && res.StatusCode < 500 {
		return &finalError{why}
	}
	return why
}

// statusError returns the error that an answer with an unexpected status describes.
func statusError(res *http.Response) error {
	var said httpjson.Error
	if body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10)); err == nil {
		_ = json.Unmarshal(body, &said) // another server says something else
	}
	if said.Message == "" {
		said.Message = "the server answers " + res.Status
	}
	return errors.New(wire.Line(said.Message))
}

// next returns the next frame that is not the answer to a post.
func (s *session) next() (wire.Frame, error) {
	for {
		f, err := s.read()
		if err != nil {
			return f, err
		}
		switch f.Kind {
		case wire.KindAck:
			s.answer(f.ID, nil)
		case wire.KindRefused:
			s.answer(f.ID, errors.New(wire.Line(f.Text)))
		default:
			return f, nil
		}
	}
}

func (s *session) read() (f wire.Frame, err error) {
	_, b, err := s.ws.Read(context.Background()) // the connection has the deadline
	if err != nil {
		return f, closed(err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("a frame of the server cannot be read: %w", err)
	}
	return f, nil
}

// closed returns what the end of a connection means.
func closed(err error) error {
	closing, ok := errors.AsType[websocket.CloseError](err)
	if !ok {
		return lost(err)
	}
	reason := wire.Line(closing.Reason)
	switch closing.Code {
	case wire.StatusReplaced:
		return &finalError{ErrReplaced}
	case websocket.StatusGoingAway:
		return ErrStopping
	case websocket.StatusTryAgainLater:
		return fmt.Errorf("cut off: %w", reasoned{ErrSlow, reason})
	case websocket.StatusPolicyViolation, websocket.StatusUnsupportedData, websocket.StatusMessageTooBig:
		return &finalError{fmt.Errorf("the server does not understand this client: %s", reason)}
	}
	return fmt.Errorf("closed by the server: %s (%d)", reason, closing.Code)
}

// lost returns why a connection ended without a closing frame, worded for people.
func lost(err error) error {
	switch op, ok := errors.AsType[*net.OpError](err); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("connection lost: nothing has come for too long")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET):
		return errors.New("connection lost")
	case ok:
		return fmt.Errorf("connection lost: %w", op.Err)
	}
	return fmt.Errorf("connection lost: %w", err)
}

// reasoned is an error with the words of the server.
type reasoned struct {
	error
	words string
}

func (r reasoned) Error() string { return r.words }
func (r reasoned) Unwrap() error { return r.error }

// post sends a message and waits for the answer.
func (s *session) post(ctx context.Context, text string) error {
	answer := make(chan error, 1)
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return ErrOffline
	}
	s.last++
	id := s.last
	s.answers[id] = answer
	s.mu.Unlock()

	frame, err := json.Marshal(wire.Post{ID: id, Text: text})
	if err != nil {
		return err
	}
	if err := s.ws.Write(context.Background(), websocket.MessageText, frame); err != nil {
		_ = s.conn.Close() // half a frame may be on its way: the reader meets the error
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) answer(id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answer, ok := s.answers[id]; ok {
		delete(s.answers, id)
		answer <- err
	}
}

// part closes the connection as a client does that leaves. The reader then sees the end.
func (s *session) part() {
	defer s.left.Done()
	s.conn.EndReading(partingTimeout)
	_ = s.ws.Close(websocket.StatusNormalClosure, "")
	_ = s.conn.Close()
}

// end frees the connection and tells those who wait for an answer that none will come.
func (s *session) end() {
	s.unfollow()
	s.left.Wait()
	_ = s.conn.Close()
	_ = s.ws.CloseNow() // frees what the library holds
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for id, answer := range s.answers {
		delete(s.answers, id)
		answer <- ErrUnsure
	}
}
