package main

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast"
)

// maxBody is the largest body of a post, in bytes.
const maxBody = 64 << 10

// post answers POST /message: 202 means that the message was accepted and that everybody who watches the chat will get it or be told
// that it is missing; any other answer means that nobody ever will.
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	p, err := decodePost(body)
	if err != nil {
		return err
	}
	if p.By, err = s.identity(r, p.Chat, p.By); err != nil {
		return err
	}
	msg, err := newMessage(p, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := s.broker.Publish(r.Context(), p.Chat.String(), msg); err != nil {
		return publishRefusal(err)
	}
	writeJSON(w, http.StatusAccepted, struct {
		Chat id `json:"chat"`
	}{p.Chat})
	return nil
}

// readBody returns the body of a post, which must be JSON, of a bearable size, and there in time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := params["charset"]
	if err != nil || kind != "application/json" || given && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(http.StatusUnsupportedMediaType, "", "body must be application/json in UTF-8, not encoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, refuse(http.StatusRequestEntityTooLarge, "", "body has more than %d bytes", maxBody)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		w.Header().Set("Connection", "close")
		return nil, refuse(http.StatusRequestTimeout, "", "body did not come in time")
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "", "body cannot be read")
	}
	return body, nil
}

// publishRefusal returns what a client is told when the broker did not accept its message.
func publishRefusal(err error) error {
	switch {
	case errors.Is(err, broadcast.ErrOverloaded):
		return later(time.Second, "the chat is overloaded; the message was not accepted")
	case errors.Is(err, broadcast.ErrLimit): // with a history a post makes the chat that it is for
		return later(5*time.Second, "too many chats; the message was not accepted")
	case errors.Is(err, broadcast.ErrClosed):
		return errShuttingDown
	}
	return err // the client has gone while its post was waiting
}
