package server

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// store keeps uploaded files in one directory, under names of its own. A file that is not complete
// has a name that no download reaches, and is removed when the upload fails, or when the next
// server starts.
type store struct {
	root   *os.Root
	create func(name string) (partial, error)

	maxFile, maxStored int64
	maxFiles           int

	mu     sync.Mutex
	stored int64                // bytes of all files, and of what is promised to uploads on their way
	count  int                  // the same in files
	names  map[string]wire.File // by id; files from before the start have no name here
}

// partial is a file that is being written.
type partial interface {
	io.WriteCloser
	Sync() error
}

// partialPrefix begins the names of files that are not complete. An id cannot begin with it.
const partialPrefix = "partial-"

func openStore(cfg Config) (*store, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &store{
		root: root, create: cfg.create, names: make(map[string]wire.File),
		maxFile: cfg.MaxUpload, maxStored: cfg.MaxStored, maxFiles: cfg.MaxFiles,
	}
	if s.create == nil {
		s.create = func(name string) (partial, error) {
			return root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if err := s.takeStock(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *store) close() error { return s.root.Close() }

// takeStock counts the files and removes the incomplete ones that a server left when it was killed.
func (s *store) takeStock() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), partialPrefix) {
			if err := s.root.Remove(entry.Name()); err != nil {
				return err
			}
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		s.stored += info.Size()
		s.count++
	}
	return nil
}

// promise reserves space for a file, or returns why there is none.
func (s *store) promise(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case size > s.maxFile:
		return httpjson.Errorf(http.StatusRequestEntityTooLarge, "the file is too large: it has %d bytes, the limit is %d", size, s.maxFile)
	case size > s.maxStored-s.stored || s.count >= s.maxFiles:
		return httpjson.Errorf(http.StatusRequestEntityTooLarge, "no room for the file: the server keeps %d bytes in %d files at most", s.maxStored, s.maxFiles)
	}
	s.stored += size
	s.count++
	return nil
}

// giveBack undoes promise.
func (s *store) giveBack(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored -= size
	s.count--
}

// write stores exactly size bytes, which were promised, as a partial file on its way to be id, and
// returns their sha256. After an error nothing is left of it.
func (s *store) write(id string, body io.Reader, size int64) (sum string, err error) {
	name := partialPrefix + id
	file, err := s.create(name)
	if err != nil {
		return "", diskRefusal(err)
	}
	hash := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(file, hash), copyBuffer)
	n, err := io.Copy(out, io.LimitReader(body, size))
	if err == nil {
		err = out.Flush()
	}
	if err == nil && n < size {
		err = errTruncated
	}
	if err == nil {
		err = nothingLeft(body)
	}
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		s.remove(name)
		return "", diskRefusal(err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// copyBuffer is what is read and written at once, in bytes: a part of a form hands out 4 KiB at a
// time.
const copyBuffer = 64 << 10

var (
	errTruncated = httpjson.Errorf(http.StatusBadRequest, "the upload is truncated")
	errTooLong   = httpjson.Errorf(http.StatusBadRequest, "the file is longer than its size says")
)

func nothingLeft(body io.Reader) error {
	n, err := io.ReadFull(body, make([]byte, 1))
	switch {
	case n > 0:
		return errTooLong
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// diskRefusal returns what a client is told when its file could not be written.
func diskRefusal(err error) error {
	if refused, ok := errors.AsType[*httpjson.Error](err); ok {
		return refused
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return httpjson.Errorf(http.StatusInsufficientStorage, "the server's disk is full")
	}
	return err
}

// keep makes a partial file available for download. It is on the disk when keep returns.
func (s *store) keep(f wire.File) error {
	if err := s.root.Rename(partialPrefix+f.ID, f.ID); err != nil {
		return err
	}
	s.mu.Lock()
	s.names[f.ID] = f
	s.mu.Unlock()
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return diskRefusal(errors.Join(dir.Sync(), dir.Close()))
}

// discard removes a file, complete or not.
func (s *store) discard(id string) {
	s.remove(partialPrefix + id)
	s.remove(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, id)
}

func (s *store) remove(name string) {
	_ = s.root.Remove(name) // what cannot be removed is counted again by the next server
}

// open returns a file and what is known about it.
func (s *store) open(id string) (*os.File, wire.File, error) {
	if !validID(id) {
		return nil, wire.File{}, errNoFile
	}
	file, err := s.root.Open(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wire.File{}, errNoFile
	}
	if err != nil {
		return nil, wire.File{}, fmt.Errorf("cannot open a stored file: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.names[id]; ok {
		return file, known, nil
	}
	return file, wire.File{ID: id, Name: id}, nil
}

var errNoFile = httpjson.Errorf(http.StatusNotFound, "no such file")

// newID returns a name that nobody can guess.
func newID() string { return strings.ToLower(rand.Text()) }

// validID reports whether newID could have returned id.
func validID(id string) bool {
	return len(id) == len(newID()) && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
