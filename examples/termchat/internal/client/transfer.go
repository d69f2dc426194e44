package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/wsconn"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// Upload sends a file to the current room, which is told when the server has all of it. progress,
// if not nil, is called from time to time, on one goroutine. If ctx ends, or the file cannot be
// read to its end, nothing of it is left on the server.
func (c *Client) Upload(ctx context.Context, path string, progress func(sent, total int64)) (File, error) {
	o := c.options
	o.Room = c.Room()
	return Upload(ctx, o, path, progress)
}

// Download fetches a file into path, which must not exist. progress is as for Upload.
func (c *Client) Download(ctx context.Context, id, path string, progress func(got, total int64)) error {
	return Download(ctx, c.options, id, path, progress)
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
	return send(ctx, o, source{file, filepath.Base(path), info.Size()}, progress)
}

// source is something to upload.
type source struct {
	io.Reader
	name string
	size int64
}

// Read reads from the source. It marks its errors, to tell them from those of the connection.
func (s source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{err}
	}
	return n, err
}

// sourceError says that what was to be uploaded cannot be read.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// send streams a source to the server. The file is read as the connection takes it, through a pipe:
// nothing is kept but one buffer.
func send(ctx context.Context, o Options, src source, progress func(sent, total int64)) (File, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	query := url.Values{"room": {o.Room}, "name": {o.Name}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address(o, "/files", query), reader)
	if err != nil {
		return File{}, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Expect", "100-continue") // who is refused need not send it all first
	req.ContentLength = formLength(form.Boundary(), src)

	written := make(chan error, 1)
	go func() {
		err := write(form, src, progress)
		writer.CloseWithError(err) // nil is the end; anything else breaks the request off
		written <- err
	}()
	res, err := do(o, req)
	reader.CloseWithError(errors.New("the server has stopped reading"))
	if failed, ok := errors.AsType[*sourceError](<-written); ok && err != nil {
		err = failed.error // the reason, of which the other is the consequence
	}
	if err != nil {
		return File{}, fmt.Errorf("upload of %s failed: %w", wire.FileName(src.name), cause(ctx, err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return File{}, fmt.Errorf("upload of %s refused: %w", wire.FileName(src.name), statusError(res))
	}
	var stored wire.File
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&stored); err != nil {
		return File{}, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	return fileOf(stored), nil
}

// write writes the parts of an upload: the size, the file, and its sum, which is known only then.
func write(form *multipart.Writer, src source, progress func(sent, total int64)) error {
	if err := form.WriteField("size", strconv.FormatInt(src.size, 10)); err != nil {
		return err
	}
	part, err := form.CreateFormFile("file", wire.FileName(src.name))
	if err != nil {
		return err
	}
	hash := sha256.New()
	to := io.MultiWriter(part, hash, &counter{total: src.size, report: progress})
	n, err := io.CopyBuffer(to, src, make([]byte, 64<<10))
	if err != nil {
		return err
	}
	if n != src.size {
		return &sourceError{errors.New("the file has changed while it was read")}
	}
	if err := form.WriteField("sha256", hex.EncodeToString(hash.Sum(nil))); err != nil {
		return err
	}
	return form.Close()
}

// formLength returns the length of the whole body of an upload, so that the server can refuse it
// before anything is sent.
func formLength(boundary string, src source) int64 {
	var around counter
	form := multipart.NewWriter(&around)
	// These do not fail: the writer does not, and the boundary is one.
	_ = form.SetBoundary(boundary)
	_ = form.WriteField("size", strconv.FormatInt(src.size, 10))
	_, _ = form.CreateFormFile("file", wire.FileName(src.name))
	_ = form.WriteField("sha256", hex.EncodeToString(make([]byte, sha256.Size)))
	_ = form.Close()
	return around.done + src.size
}

// counter is a writer that reports how much was written.
type counter struct {
	done, total int64
	report      func(done, total int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	if c.report != nil {
		c.report(c.done, c.total)
	}
	return len(p), nil
}

// Download is [Client.Download] for somebody who is not in a room.
func Download(ctx context.Context, o Options, id, path string, progress func(got, total int64)) (err error) {
	o = o.withDefaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address(o, "/files/"+url.PathEscape(id), nil), nil)
	if err != nil {
		return err
	}
	res, err := do(o, req)
	if err != nil {
		return fmt.Errorf("download failed: %w", cause(ctx, err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("download refused: %w", statusError(res))
	}
	idle := time.AfterFunc(o.Idle, func() { cancel(errors.New("nothing has come for too long")) })
	defer idle.Stop()
	body := io.TeeReader(res.Body, writerFunc(func() { idle.Reset(o.Idle) }))
	if err := save(body, res, path, progress); err != nil {
		return fmt.Errorf("download failed: %w", cause(ctx, err))
	}
	return nil
}

// save writes a file beside path and renames it when it is whole. It replaces nothing.
func save(body io.Reader, res *http.Response, path string, progress func(got, total int64)) (err error) {
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
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, hash, &counter{total: res.ContentLength, report: progress}), body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	sum := "sha-256=:" + base64.StdEncoding.EncodeToString(hash.Sum(nil)) + ":"
	if said := res.Header.Get("Repr-Digest"); err == nil && said != "" && said != sum {
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

// writerFunc is a writer that calls a function at each write and discards the bytes.
type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func address(o Options, path string, query url.Values) string {
	return "http://" + o.Addr + path + func() string {
		if len(query) == 0 {
			return ""
		}
		return "?" + query.Encode()
	}()
}

// do sends a request over a connection of its own, on which every write has a deadline.
func do(o Options, req *http.Request) (*http.Response, error) {
	o = o.withDefaults()
	dialer := &net.Dialer{Timeout: o.DialTimeout}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &wsconn.Conn{Conn: conn, WriteTimeout: o.Idle}, nil
		},
		DisableKeepAlives:     true,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		ExpectContinueTimeout: 2 * time.Second,
		ResponseHeaderTimeout: 2 * o.Idle, // begins when all is sent; the server writes the file to its disk first
	}
	return transport.RoundTrip(req)
}

// cause returns why ctx has ended, or err if it has not.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
