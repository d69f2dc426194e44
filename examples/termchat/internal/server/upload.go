package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// upload answers POST /files?room=general&name=ann. The body is multipart/form-data with exactly
// these parts, in this order: size, the number of bytes; file, with its name; sha256, in
// hexadecimal, which a client computes while it sends. The parts are read as they arrive and are
// buffered nowhere else. 201 means that the file is complete and on the disk, and that the room was
// told; any other answer means that nothing of it is left.
func (s *server) upload(w http.ResponseWriter, r *http.Request) error {
	room, name, err := claim(r.URL.Query())
	if err != nil {
		return err
	}
	if name, err = s.identity(r, room, name); err != nil { // before anything of the body is read
		return err
	}
	if r.ContentLength > s.cfg.MaxUpload+maxOverhead {
		return httpjson.Errorf(http.StatusRequestEntityTooLarge, "the file is too large: the limit is %d", s.cfg.MaxUpload)
	}
	if !s.files.Enter() {
		return errStopping
	}
	defer s.files.Leave()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return httpjson.Later(5*time.Second, "too many uploads at the same time")
	}
	body := newUploadBody(w, r, s)
	defer body.stop()
	limited := http.MaxBytesReader(w, body, s.cfg.MaxUpload+maxOverhead)
	r.Body = io.NopCloser(bufio.NewReaderSize(limited, copyBuffer)) // the server itself closes what is below
	file, err := s.receive(r, room, name)
	if err != nil {
		return body.refusal(err)
	}
	httpjson.Write(w, http.StatusCreated, file)
	return nil
}

// maxOverhead is how much longer than the file an upload may be, in bytes.
const maxOverhead = 64 << 10

// receive stores a file and tells the room.
func (s *server) receive(r *http.Request, room, name string) (file wire.File, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return file, httpjson.Errorf(http.StatusUnsupportedMediaType, "body must be multipart/form-data")
	}
	announced, err := field(parts, "size")
	if err != nil {
		return file, err
	}
	size, err := strconv.ParseInt(announced, 10, 64)
	if err != nil || size < 0 {
		return file, httpjson.Errorf(http.StatusBadRequest, "size must be the number of bytes")
	}
	if err := s.store.promise(size); err != nil {
		return file, err
	}
	file = wire.File{ID: newID(), Size: size}
	defer func() {
		if err != nil {
			s.store.discard(file.ID)
			s.store.giveBack(size)
		}
	}()
	if err := s.receiveFile(parts, &file); err != nil {
		return file, err
	}
	// The room is told when nothing else can fail any more.
	err = s.publish(r.Context(), room, wire.Frame{Kind: wire.KindFile, Name: name, At: time.Now().UTC(), File: &file})
	return file, err
}

// receiveFile stores the file and compares it with its sum.
func (s *server) receiveFile(parts *multipart.Reader, file *wire.File) error {
	part, err := nextPart(parts, "file")
	if err != nil {
		return err
	}
	file.Name = wire.FileName(part.FileName())
	if file.SHA256, err = s.store.write(file.ID, part, file.Size); err != nil {
		return err
	}
	sum, err := field(parts, "sha256")
	if err != nil {
		return err
	}
	if !strings.EqualFold(sum, file.SHA256) {
		return httpjson.Errorf(http.StatusBadRequest, "the file is damaged: its sha256 is %s", file.SHA256)
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		return httpjson.Errorf(http.StatusBadRequest, "nothing may follow sha256")
	}
	return s.store.keep(*file)
}

// field returns the value of the next part, which must have that name and be short.
func field(parts *multipart.Reader, name string) (string, error) {
	part, err := nextPart(parts, name)
	if err != nil {
		return "", err
	}
	value, err := io.ReadAll(io.LimitReader(part, 65))
	if err != nil {
		return "", err
	}
	if len(value) > 64 {
		return "", httpjson.Errorf(http.StatusBadRequest, "%s has more than 64 bytes", name)
	}
	return string(value), nil
}

func nextPart(parts *multipart.Reader, name string) (*multipart.Part, error) {
	part, err := parts.NextPart()
	if errors.Is(err, io.EOF) {
		return nil, httpjson.Errorf(http.StatusBadRequest, "%s is missing", name)
	}
	if err != nil {
		return nil, err
	}
	if part.FormName() != name {
		return nil, httpjson.Errorf(http.StatusBadRequest, "%s must come next: the parts are size, file, sha256", name)
	}
	return part, nil
}

// uploadBody is the body of an upload. Each read has a deadline, and all reading ends when the
// server gives up.
type uploadBody struct {
	io.ReadCloser
	response *http.ResponseController
	idle     time.Duration
	giveUp   context.Context
	stop     func() bool
}

func newUploadBody(w http.ResponseWriter, r *http.Request, s *server) *uploadBody {
	b := &uploadBody{ReadCloser: r.Body, response: http.NewResponseController(w), idle: s.cfg.BodyIdle, giveUp: s.giveUp}
	b.stop = context.AfterFunc(s.giveUp, func() { _ = b.response.SetReadDeadline(time.Now()) }) // wakes a read that waits
	return b
}

func (b *uploadBody) Read(p []byte) (int, error) {
	if err := b.response.SetReadDeadline(time.Now().Add(b.idle)); err != nil {
		return 0, err
	}
	if b.giveUp.Err() != nil { // after the deadline was set, which may have been moved past the one of stop
		return 0, errStopping
	}
	return b.ReadCloser.Read(p)
}

// refusal returns what a client is told when its upload has failed.
func (b *uploadBody) refusal(err error) error {
	if refused, ok := errors.AsType[*httpjson.Error](err); ok {
		return refused
	}
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case b.giveUp.Err() != nil:
		return errStopping
	case tooLarge:
		return httpjson.Errorf(http.StatusRequestEntityTooLarge, "the upload is too large")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return httpjson.Errorf(http.StatusRequestTimeout, "the upload has stopped on its way")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errTruncated
	case isDisk(err):
		return err
	}
	return httpjson.Errorf(http.StatusBadRequest, "the upload cannot be read")
}

// isDisk reports whether an error comes from the server's own files.
func isDisk(err error) bool {
	_, path := errors.AsType[*os.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	return path || link
}
