package client

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// Upload sends a file to the current room, which is told when the server has all of it. The file is
// read twice: first for its sum. progress, if not nil, is called from time to time, on one
// goroutine. If ctx ends or the file cannot be read to its end, nothing of it remains on the
// server.
func (c *Client) Upload(ctx context.Context, path string, progress func(sent, total int64)) (File, error) {
	o := c.options
	o.Room = c.Room()
	return Upload(ctx, o, path, progress)
}

// Download fetches a file of the current room into path, which must not exist. progress is as for
// Upload.
func (c *Client) Download(ctx context.Context, id, path string, progress func(got, total int64)) error {
	o := c.options
	o.Room = c.Room()
	return Download(ctx, o, id, path, progress)
}

// Upload is [Client.Upload] for somebody who is not in the room.
func Upload(ctx context.Context, o Options, path string, progress func(sent, total int64)) (File, error) {
	file, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s is not a file", path)
	}
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return File{}, err
	}
	return send(ctx, o, file, wire.FileName(filepath.Base(path)), size, sum, progress)
}

// send streams a file to the server. It keeps only one buffer.
func send(ctx context.Context, o Options, file io.Reader, name string, size int64, sum hash.Hash, progress func(sent, total int64)) (File, error) {
	o, err := o.withDefaults()
	if err != nil {
		return File{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	src := &source{file: bufio.NewReaderSize(file, 64<<10), left: size, closed: make(chan struct{})}
	src.meter = newMeter(size, progress, o.Idle, cancel)
	defer func() {
		cancel(nil)
		<-src.closed // the transport no longer reads it
		src.meter.idle.Stop()
	}()
	query := url.Values{"name": {o.Name}, "file": {name}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url(filesOf(o.Room), query), src)
	if err != nil {
		close(src.closed)
		return File{}, err
	}
	req.Header = o.header()
	req.Header.Set("Expect", "100-continue") // so that a refused client does not send it all first
	req.Header.Set("Repr-Digest", digestOf(sum))
	if req.ContentLength = size; size == 0 { // which is not unknown
		req.Body = http.NoBody
		close(src.closed)
	}
	res, err := o.transport().RoundTrip(req)
	if failed, ok := errors.AsType[*sourceError](err); ok {
		err = failed.error
	}
	if err != nil {
		return File{}, fmt.Errorf("upload of %s failed: %w", name, cause(ctx, err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return File{}, fmt.Errorf("upload of %s refused: %w", name, statusError(res))
	}
	var stored wire.File
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&stored); err != nil {
		return File{}, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	return fileOf(stored), nil
}

func filesOf(room string) string { return "/rooms/" + url.PathEscape(room) + "/files" }

// digestOf returns a sum as RFC 9530 writes it.
func digestOf(sum hash.Hash) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum.Sum(nil)) + ":"
}

// source is the body of an upload. The transport reads and closes it.
type source struct {
	file   *bufio.Reader
	left   int64 // bytes to come
	meter  *meter
	closed chan struct{}
}

// sourceError marks an error of reading the file, to tell it from the errors of the connection.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// Read reads from the file. It hands out the last bytes only if nothing follows them.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.file.Read(p)
	s.left -= int64(n)
	more := s.left < 0
	if s.left == 0 && err == nil {
		_, end := s.file.Peek(1)
		more = end == nil
	}
	switch {
	case more, s.left > 0 && errors.Is(err, io.EOF):
		return 0, &sourceError{errors.New("the file has changed while it was read")}
	case err != nil && !errors.Is(err, io.EOF):
		return 0, &sourceError{err}
	}
	if n > 0 {
		_, _ = s.meter.Write(p[:n]) // never fails
	}
	if s.left == 0 {
		s.meter.idle.Stop() // now the server has to answer, which has a limit of its own
	}
	return n, err
}

// Close implements [io.Closer].
func (s *source) Close() error {
	select {
	case <-s.closed: // a transport may close twice
	default:
		close(s.closed)
	}
	return nil
}

// meter is a writer that reports how much was written, and ends a transfer that makes no progress.
type meter struct {
	done, total int64
	report      func(done, total int64)
	every       time.Duration
	idle        *time.Timer
}

// newMeter returns a meter of total bytes that calls cancel when nothing has moved for that long.
func newMeter(total int64, report func(done, total int64), idle time.Duration, cancel context.CancelCauseFunc) *meter {
	m := &meter{total: total, report: report, every: idle}
	m.idle = time.AfterFunc(idle, func() { cancel(errors.New("nothing has moved for too long")) })
	return m
}

// Write implements [io.Writer].
func (m *meter) Write(p []byte) (int, error) {
	if m.done += int64(len(p)); m.report != nil {
		m.report(m.done, m.total)
	}
	m.idle.Reset(m.every)
	return len(p), nil
}

// Download is [Client.Download] for somebody who is not in the room.
func Download(ctx context.Context, o Options, id, path string, progress func(got, total int64)) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	address := o.url(filesOf(o.Room)+"/"+url.PathEscape(id), url.Values{"name": {o.Name}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header = o.header()
	res, err := o.transport().RoundTrip(req)
	if err != nil {
		return fmt.Errorf("download failed: %w", cause(ctx, err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("download refused: %w", statusError(res))
	}
	m := newMeter(res.ContentLength, progress, o.Idle, cancel)
	defer m.idle.Stop()
	if err := save(res, path, m); err != nil {
		return fmt.Errorf("download failed: %w", cause(ctx, err))
	}
	return nil
}

// save writes a file beside path and renames it when it is whole. It replaces nothing.
func save(res *http.Response, path string, m *meter) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists", path)
	}
	partial := path + ".partial"
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(partial) // the first error is the one to tell
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, sum, m), res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if said := res.Header.Get("Repr-Digest"); err == nil && said != "" && said != digestOf(sum) {
		err = errors.New("the file is damaged")
	}
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

// cause returns why ctx has ended, or err if it has not.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
