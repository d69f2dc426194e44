package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/names"
)

// post answers POST /chats/{chat}/messages {"text":"…"} with 202 if the message was accepted. With
// an Idempotency-Key it is accepted once, however often a client sends it.
func (s *Server) post(w http.ResponseWriter, r *http.Request) error {
	by, chat, err := s.allowed(r)
	if err != nil {
		return err
	}
	done, err := s.posters.Enter(by)
	if err != nil {
		return err
	}
	defer done()
	text, err := readText(w, r, "text")
	if err != nil {
		return err
	}
	key := cmp.Or(r.Header.Get("Idempotency-Key"), rand.Text()) // a random one never comes again
	if len(key) > 64 {
		return httpjson.Bad("Idempotency-Key has more than 64 bytes")
	}
	post := by + "\n" + key
	err = s.once(post, func() error { return s.publish(r.Context(), chat, newNote(by, text, post, time.Now())) })
	if err == nil {
		httpjson.Write(w, http.StatusAccepted, map[string]string{"chat": chat, "by": by})
	}
	return err
}

// once calls do, unless that has succeeded before for that post. A call that comes while another is
// in progress waits for that, and returns its error.
func (s *Server) once(post string, do func() error) error {
	_, err, _ := s.sending.Do(post, func() (_ any, err error) {
		if s.sent.Contains(post) {
			return nil, nil
		}
		if err = do(); err == nil {
			s.sent.Add(post, struct{}{})
		}
		return nil, err
	})
	return err
}

// publish returns nil if the message was accepted: then everybody gets it who watches the chat.
func (s *Server) publish(ctx context.Context, chat string, n *note) error {
	ctx = context.WithoutCancel(ctx) // whether the client waits makes no difference
	err := s.makingRoom(ctx, chat, func() error { return s.broker.Publish(ctx, chat, n) })
	if err == nil && s.broker.Engine().Since.IsZero() { // or unmarshal has kept it
		s.kept.Add(n, struct{}{})
	}
	return err
}

// Limits in bytes. The longest text fits into a body, however it is escaped, and into a note, where
// quotes, backslashes, tabs and ends of lines are escaped.
const maxText, maxBody, maxNote = 4096, 64 << 10, 2*maxText + 512

// readText returns the one field of a body that is a JSON object: a text in which there is
// something to see, and no control character other than the end of a line and a tab. It blocks
// until the body has arrived; the BodyTimeout bounds that.
func readText(w http.ResponseWriter, r *http.Request, field string) (string, error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return "", &broadcastws.Refusal{Status: http.StatusUnsupportedMediaType, Text: "body must be application/json"}
	}
	var fields map[string]string
	err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, maxBody), &fields) // each once, in UTF-8
	for name := range fields {
		if name != field { // a client chose it, so it may be long
			return "", httpjson.Bad("field %.32q is unknown", name)
		}
	}
	text := fields[field]
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case tooLarge:
		return "", &broadcastws.Refusal{Status: http.StatusRequestEntityTooLarge, Text: fmt.Sprintf("body has more than %d bytes", maxBody)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return "", &broadcastws.Refusal{Status: http.StatusRequestTimeout, Text: "body did not arrive in time"}
	case err != nil, len(text) > maxText, !names.Visible(text), strings.ContainsFunc(text, isControl):
		return "", httpjson.Bad("body must be one JSON object, {%q: …}, with a string of 1 to %d bytes of UTF-8: "+
			"something to see, and no control characters", field, maxText)
	}
	return text, nil
}

func isControl(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
