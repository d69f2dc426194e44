package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/limit"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// begin takes one of the places for transfers. The caller must call leave.
func (s *server) begin(r *http.Request) (leave func(), err error) {
	done, err := s.clients.Enter(limit.Client(r, false))
	if err != nil {
		return nil, err
	}
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots; done() }, nil
	default:
		done()
		busy := &broadcastws.Refusal{Status: http.StatusServiceUnavailable, Text: "too many transfers at the same time", RetryAfter: 5 * time.Second}
		return nil, cmp.Or[error](s.refusing(), busy)
	}
}

// upload answers POST /rooms/{room}/files?name=ann&file=report.pdf. The body is the file; its
// Content-Length and its SHA-256, as Repr-Digest (RFC 9530), must be given. The body is written as
// it arrives and is buffered nowhere else. 201 means that the file is complete and on the disk, and
// that the room was told; any other answer means that nothing of it is left.
func (s *server) upload(w http.ResponseWriter, r *http.Request) error {
	room, name, err := s.allowed(r) // before anything of the body is read
	if err != nil {
		return err
	}
	sum, err := digest(r.Header)
	switch {
	case err != nil:
		return err
	case r.ContentLength < 0:
		return &broadcastws.Refusal{Status: http.StatusLengthRequired, Text: "Content-Length is missing"}
	case r.ContentLength > s.cfg.MaxUpload:
		text := fmt.Sprintf("the file is too large: the limit is %d", s.cfg.MaxUpload)
		return &broadcastws.Refusal{Status: http.StatusRequestEntityTooLarge, Text: text}
	}
	leave, err := s.begin(r)
	if err != nil {
		return err
	}
	defer leave()
	body := s.newBody(w, r)
	defer body.stop()
	file := wire.File{
		ID: newID(), Name: wire.FileName(r.URL.Query().Get("file")), Size: r.ContentLength, SHA256: sum,
	}
	if err := s.receiveFile(r.Context(), body, room, name, file); err != nil {
		return body.refusal(err)
	}
	httpjson.Write(w, http.StatusCreated, file)
	return nil
}

// receiveFile stores a file, and tells the room when nothing else can fail.
func (s *server) receiveFile(ctx context.Context, body io.Reader, room, name string, file wire.File) (err error) {
	in, err := s.store.add(room, name, file)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			in.discard()
		}
	}()
	if _, err := io.CopyBuffer(in, body, make([]byte, 64<<10)); err != nil {
		return err
	}
	if err := in.keep(); err != nil {
		return err
	}
	return s.publish(ctx, room, wire.Message{Name: name, At: time.Now().UTC(), File: &file})
}

// digest returns the SHA-256 that a header gives, in hexadecimal.
func digest(header http.Header) (string, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(header.Get("Repr-Digest"), "sha-256=:"), ":")
	sum, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sum) != 32 {
		return "", &broadcastws.Refusal{Status: http.StatusBadRequest, Text: "Repr-Digest must be sha-256=:, the sum in base64, and :"}
	}
	return hex.EncodeToString(sum), nil
}

// lingering returns a handler that keeps reading for a moment after its answer, because a client
// that is refused is still sending. Closing a connection with unread bytes resets it, and then the
// client might not get the answer.
func lingering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		response := http.NewResponseController(w)
		if errors.Join(response.Flush(), response.SetReadDeadline(time.Now().Add(time.Second))) == nil {
			_, _ = io.Copy(io.Discard, r.Body) // until the client has closed, or the second is over
		}
	})
}

// body is the body of an upload. Each read has a deadline, and reading ends when the server gives
// up.
type body struct {
	io.ReadCloser
	response *http.ResponseController
	idle     time.Duration
	until    time.Time // when all of it must be there
	giveUp   context.Context
	stop     func() bool
}

func (s *server) newBody(w http.ResponseWriter, r *http.Request) *body {
	atMost := s.cfg.BodyIdle + time.Duration(float64(r.ContentLength)/float64(s.cfg.MinRate)*float64(time.Second))
	b := &body{
		ReadCloser: r.Body, response: http.NewResponseController(w),
		idle: s.cfg.BodyIdle, until: time.Now().Add(atMost), giveUp: s.giveUp,
	}
	b.stop = context.AfterFunc(s.giveUp, func() { _ = b.response.SetReadDeadline(time.Now()) }) // wakes a blocked read
	return b
}

func (b *body) Read(p []byte) (int, error) {
	deadline := time.Now().Add(b.idle)
	if deadline.After(b.until) {
		deadline = b.until
	}
	if err := b.response.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	if b.giveUp.Err() != nil { // after the deadline was set, which may have been moved past the one of stop
		return 0, errStopping
	}
	return b.ReadCloser.Read(p)
}

// refusal returns what a client is told when its upload has failed.
func (b *body) refusal(err error) error {
	if refused := broadcastws.RefusalOf(err); refused.Status != http.StatusInternalServerError {
		return refused
	}
	switch {
	case isDisk(err):
		return err
	case b.giveUp.Err() != nil:
		return errStopping
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &broadcastws.Refusal{Status: http.StatusRequestTimeout, Text: "the upload has stalled or is too slow"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &broadcastws.Refusal{Status: http.StatusBadRequest, Text: "the upload is truncated"}
	}
	return &broadcastws.Refusal{Status: http.StatusBadRequest, Text: "the upload cannot be read"}
}

// download answers GET /rooms/{room}/files/{id} with the file, always as an attachment to be saved,
// whatever its type and name.
func (s *server) download(w http.ResponseWriter, r *http.Request) error {
	room, _, err := s.allowed(r)
	if err != nil {
		return err
	}
	leave, err := s.begin(r)
	if err != nil {
		return err
	}
	defer leave()
	file, known, err := s.store.open(room, r.PathValue("id"))
	if err != nil {
		return err
	}
	defer file.Close()

	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": known.Name}))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	header.Set("Cache-Control", "private, no-cache")
	header.Set("Connection", "close") // the deadline of the last write stays with it
	if sum, err := hex.DecodeString(known.SHA256); err == nil && len(sum) > 0 {
		header.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
	out := &downloadWriter{ResponseWriter: w, response: http.NewResponseController(w), server: s}
	defer context.AfterFunc(s.giveUp, func() { _ = out.response.SetWriteDeadline(time.Now()) })() // wakes a blocked write
	http.ServeContent(out, r, "", time.Time{}, file)
	return nil
}

// downloadWriter sets a deadline for each write, and refuses to write once the server gives up.
type downloadWriter struct {
	http.ResponseWriter
	response *http.ResponseController
	server   *server
}

func (d *downloadWriter) Write(p []byte) (int, error) {
	if err := d.response.SetWriteDeadline(time.Now().Add(d.server.cfg.BodyIdle)); err != nil {
		return 0, err
	}
	if d.server.giveUp.Err() != nil { // after the deadline was set, which may have been moved past the one of download
		return 0, errStopping
	}
	return d.ResponseWriter.Write(p)
}
