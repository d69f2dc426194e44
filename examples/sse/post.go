package main

import (
	"errors"
	"fmt"
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

// post answers POST /message: 202 means that the message was accepted, and that everybody who watches the chat will get it or be
// told that it is missing; any other answer means that nobody ever will.
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	p, err := decodePost(body)
	if err != nil {
		return err
	}
	if err := s.authorize(r, p.Chat, p.By); err != nil {
		return err
	}
	switch err := s.broker.Publish(r.Context(), p.Chat.String(), newMessage(p, time.Now().UTC())); {
	case errors.Is(err, broadcast.ErrOverloaded):
		return errBusy
	case errors.Is(err, broadcast.ErrLimit): // a message makes its chat, to keep it for those who come later
		return errLimit
	case errors.Is(err, broadcast.ErrClosed):
		return errDraining
	case err != nil:
		return err // the client has gone while its post was waiting
	}
	writeJSON(w, http.StatusAccepted, map[string]id{"chat": p.Chat})
	return nil
}

// readBody returns the body of a post, if it is declared as JSON, not too large, and there in time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !isJSON(r.Header) {
		return nil, &problem{status: http.StatusUnsupportedMediaType, Message: "body must be application/json in UTF-8, not encoded"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	tooLarge := new(http.MaxBytesError)
	var late net.Error
	switch {
	case errors.As(err, &tooLarge):
		return nil, &problem{status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("body has more than %d bytes", maxBody)}
	case errors.As(err, &late) && late.Timeout():
		w.Header().Set("Connection", "close")
		return nil, &problem{status: http.StatusRequestTimeout, Message: "body did not come in time"}
	case err != nil:
		return nil, bad("", "body cannot be read")
	}
	return body, nil
}

func isJSON(header http.Header) bool {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "application/json" || header.Get("Content-Encoding") != "" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}
