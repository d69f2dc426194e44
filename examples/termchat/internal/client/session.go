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
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// session is one connection to a room. One goroutine reads it; anybody may post.
type session struct {
	ws   *websocket.Conn
	idle time.Duration

	// posting holds an element while a post is sent. So the channels in waiting, each of which gets an
	// answer, are in the order of the posts.
	posting chan struct{}
	waiting chan chan error
	ended   chan struct{} // closed at the end
}

const (
	maxWaiting    = 64        // posts that have no answer yet
	receiveBuffer = 64 << 10  // bytes that the kernel holds: more would only hide that a client is behind
	longestFrame  = 256 << 10 // in bytes: the first one names everybody in the room
)

// dial connects to a room, resuming after a position in its log, and returns the session and its
// first frame. The caller must call end.
func dial(ctx context.Context, o Options, room, after string) (*session, wire.Frame, error) {
	query := url.Values{"name": {o.Name}}
	if after != "" {
		query.Set("after", after)
	}
	transport := o.transport()
	defer transport.CloseIdleConnections()
	dialing, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	ws, res, err := websocket.Dial(dialing, o.url("/rooms/"+url.PathEscape(room)+"/socket", query), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: o.header(),
	})
	if err != nil {
		return nil, wire.Frame{}, refused(res, err)
	}
	ws.SetReadLimit(longestFrame)
	s := &session{
		ws: ws, idle: o.Idle,
		posting: make(chan struct{}, 1), waiting: make(chan chan error, maxWaiting), ended: make(chan struct{}),
	}
	first, err := s.read(ctx)
	if err == nil && first.Event != broadcastws.Ready && first.Event != broadcastws.Reset {
		err = errors.New("this is not a termchat server")
	}
	if err != nil {
		s.end()
		return nil, wire.Frame{}, err
	}
	return s, first, nil
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
	if res.StatusCode >= 400 && res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
		return &finalError{why}
	}
	return why
}

// statusError returns the error that an answer with an unexpected status describes, in JSON or as
// text.
func statusError(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // whatever can be read
	var said struct{ Error string }
	if json.Unmarshal(body, &said) != nil && strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		said.Error = strings.TrimSpace(string(body))
	}
	if said.Error == "" {
		said.Error = "the server answers " + res.Status
	}
	return errors.New(wire.Line(said.Error))
}

// next returns the next frame that is not the answer to a post. It blocks until there is one, the
// connection is lost, or ctx ends, which ends the connection.
func (s *session) next(ctx context.Context) (wire.Frame, error) {
	for {
		f, err := s.read(ctx)
		switch {
		case err != nil:
			return f, err
		case f.Event == wire.Accepted:
			err = s.answer(nil)
		case f.Event == wire.Refused:
			err = s.answer(errors.New(wire.Line(f.Reason)))
		default:
			return f, nil
		}
		if err != nil {
			return f, err
		}
	}
}

func (s *session) read(ctx context.Context) (f wire.Frame, err error) {
	waiting, cancel := context.WithTimeout(ctx, s.idle)
	defer cancel()
	_, b, err := s.ws.Read(waiting)
	if errors.Is(waiting.Err(), context.DeadlineExceeded) {
		return f, errors.New("connection lost: nothing has come for too long")
	}
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
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET):
		return errLost
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: the server is not reading", errLost)
	case ok:
		return fmt.Errorf("%w: %w", errLost, op.Err)
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

var errLost = errors.New("connection lost")

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
	select {
	case s.posting <- struct{}{}:
	case <-s.ended:
		return ErrOffline
	case <-ctx.Done():
		return ctx.Err()
	}
	err := s.send(ctx, text, answer)
	<-s.posting
	if err != nil {
		return err
	}
	select {
	case err = <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
	}
	select {
	case err = <-answer: // before the end
		return err
	default:
		return ErrUnsure
	}
}

// send sends a text, and queues answer to receive the result.
func (s *session) send(ctx context.Context, text string, answer chan error) error {
	select {
	case s.waiting <- answer:
	case <-s.ended:
		return ErrOffline
	case <-ctx.Done():
		return ctx.Err()
	}
	writing, cancel := context.WithTimeout(context.Background(), s.idle) // half a frame would end the connection
	defer cancel()
	if s.ws.Write(writing, websocket.MessageText, []byte(text)) != nil {
		_ = s.ws.CloseNow() // some of it may have arrived; the reader meets the end
	}
	return nil
}

// answer gives the answer to the oldest post that has none.
func (s *session) answer(err error) error {
	select {
	case waiting := <-s.waiting:
		waiting <- err
		return nil
	default:
		return errors.New("the server sent an answer that was not asked for")
	}
}

// end closes the connection and tells those who wait for an answer that none will come.
func (s *session) end() {
	_ = s.ws.CloseNow() // may be closed already
	close(s.ended)
}
