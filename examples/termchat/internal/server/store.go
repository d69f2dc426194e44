package server

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// store keeps uploaded files in one directory, under names made of their id and their room. An
// incomplete file has a name that no download reaches. It is removed when the upload fails, or when
// the next server starts.
type store struct {
	cfg    Config
	root   *os.Root
	create func(name string) (partial, error)

	mu     sync.Mutex
	kept   []*entry         // complete, oldest first
	stored int64            // bytes of all files, also of those on their way
	count  int              // of these
	people map[string]int64 // bytes, by who has uploaded them
}

// entry is a file in the store, or on its way there.
type entry struct {
	name   string // in the directory
	at     time.Time
	size   int64     // bytes that count
	person string    // for whom they count; empty for files from before the start
	file   wire.File // the same
}

// partial is a file that is being written.
type partial interface {
	io.WriteCloser
	Sync() error
}

// partialPrefix begins the names of files that are not complete.
const partialPrefix = "partial-"

func openStore(cfg Config) (*store, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &store{cfg: cfg, root: root, create: cfg.create, people: make(map[string]int64)}
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
	for _, found := range entries {
		if strings.HasPrefix(found.Name(), partialPrefix) {
			if err := s.root.Remove(found.Name()); err != nil {
				return err
			}
			continue
		}
		info, err := found.Info()
		if err != nil {
			return err
		}
		s.kept = append(s.kept, &entry{name: found.Name(), at: info.ModTime(), size: info.Size()})
		s.stored += info.Size()
		s.count++
	}
	slices.SortFunc(s.kept, func(a, b *entry) int { return a.at.Compare(b.at) })
	s.removeOld()
	return nil
}

// removeOld removes the files that have reached their age limit.
func (s *store) removeOld() {
	s.mu.Lock()
	n := 0
	for ; n < len(s.kept) && time.Since(s.kept[n].at) > s.cfg.FileAge; n++ {
		s.uncountLocked(s.kept[n])
	}
	old := s.kept[:n]
	s.kept = s.kept[n:]
	s.mu.Unlock()
	for _, e := range old {
		s.remove(e.name)
	}
}

func (s *store) uncountLocked(e *entry) {
	s.stored -= e.size
	s.count--
	if s.people[e.person] -= e.size; s.people[e.person] <= 0 {
		delete(s.people, e.person)
	}
}

// remove removes a file. What cannot be removed is counted again by the next server.
func (s *store) remove(name string) { _ = s.root.Remove(name) }

// incoming is a file on its way into the store.
type incoming struct {
	*entry
	store *store
	out   partial
	hash  hash.Hash
	open  bool // out is
	saved bool // it is complete
}

// add begins to store a file. The caller must call keep, or discard.
func (s *store) add(room, person string, file wire.File) (*incoming, error) {
	s.removeOld()
	e := &entry{name: nameOf(room, file.ID), person: person, file: file}
	s.mu.Lock()
	err := s.roomForLocked(person, file.Size)
	if s.count >= s.cfg.MaxFiles {
		err = errFull
	}
	if err == nil {
		s.count++
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	in := &incoming{entry: e, store: s, hash: sha256.New()}
	if in.out, err = s.create(partialPrefix + e.name); err != nil {
		in.discard()
		return nil, diskRefusal(err)
	}
	in.open = true
	return in, nil
}

var errFull = &broadcastws.Refusal{Status: http.StatusRequestEntityTooLarge, Text: "no room for the file: the server is full"}

// roomForLocked returns an error if somebody may not store so many more bytes.
func (s *store) roomForLocked(person string, size int64) error {
	switch {
	case size > s.cfg.MaxStored-s.stored:
		return errFull
	case size > s.cfg.MaxPerPerson-s.people[person]:
		text := fmt.Sprintf("no room for the file: the limit is %d bytes per person", s.cfg.MaxPerPerson)
		return &broadcastws.Refusal{Status: http.StatusRequestEntityTooLarge, Text: text}
	}
	return nil
}

// Write implements [io.Writer]. The bytes count only from now on: a client cannot take up space by
// announcing a file.
func (in *incoming) Write(p []byte) (int, error) {
	n := int64(len(p))
	in.store.mu.Lock()
	err := in.store.roomForLocked(in.person, n)
	if err == nil {
		in.size += n
		in.store.stored += n
		in.store.people[in.person] += n
	}
	in.store.mu.Unlock()
	if err != nil {
		return 0, err
	}
	in.hash.Write(p)
	written, err := in.out.Write(p)
	return written, diskRefusal(err)
}

// keep makes the file available for download if its size and sum are right. It is on the disk when
// keep returns.
func (in *incoming) keep() error {
	if sum := hex.EncodeToString(in.hash.Sum(nil)); sum != in.file.SHA256 {
		return &broadcastws.Refusal{Status: http.StatusBadRequest, Text: "the file is damaged: its SHA-256 is " + sum}
	}
	s := in.store
	in.open = false
	if err := cmp.Or(in.out.Sync(), in.out.Close()); err != nil {
		return diskRefusal(err)
	}
	if err := s.root.Rename(partialPrefix+in.name, in.name); err != nil {
		return diskRefusal(err)
	}
	s.mu.Lock()
	in.at, in.saved = time.Now(), true
	s.kept = append(s.kept, in.entry)
	s.mu.Unlock()
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return diskRefusal(errors.Join(dir.Sync(), dir.Close()))
}

// discard removes whatever there is of the file.
func (in *incoming) discard() {
	s := in.store
	if in.open {
		_ = in.out.Close() // it goes away
	}
	s.remove(partialPrefix + in.name)
	s.remove(in.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.kept, in.entry)
	switch {
	case i >= 0:
		s.kept = slices.Delete(s.kept, i, i+1)
	case in.saved: // too old meanwhile, and gone
		return
	}
	s.uncountLocked(in.entry)
}

// diskRefusal returns what a client is told when its file could not be written.
func diskRefusal(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &broadcastws.Refusal{Status: http.StatusInsufficientStorage, Text: "the server's disk is full"}
	}
	return err
}

// isDisk reports whether an error comes from the server's own files.
func isDisk(err error) bool {
	_, path := errors.AsType[*os.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	return path || link
}

// open returns a file of a room and what is known about it.
func (s *store) open(room, id string) (*os.File, wire.File, error) {
	s.removeOld()
	if !validID(id) {
		return nil, wire.File{}, errNoFile
	}
	name := nameOf(room, id)
	file, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wire.File{}, errNoFile
	}
	if err != nil {
		return nil, wire.File{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.kept, func(e *entry) bool { return e.name == name && e.person != "" }); i >= 0 {
		return file, s.kept[i].file, nil
	}
	return file, wire.File{ID: id, Name: id}, nil
}

var errNoFile = &broadcastws.Refusal{Status: http.StatusNotFound, Text: "no such file in this room"}

// nameOf returns the name of a room's file in the directory. In another room it has another one, so
// that nobody finds it there.
func nameOf(room, id string) string {
	sum := sha256.Sum256([]byte(room))
	return id + "." + hex.EncodeToString(sum[:16])
}

// newID returns a name that nobody can guess.
func newID() string { return strings.ToLower(rand.Text()) }

// validID reports whether newID could have returned id.
func validID(id string) bool {
	return len(id) == len(newID()) && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
