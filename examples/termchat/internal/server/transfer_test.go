package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

// sparse makes a file of zeros that takes no room on the disk.
func sparse(t *testing.T, size int64) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "zeros")
	file, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, errors.Join(file.Truncate(size), file.Close()))
	return path
}

// nowhere is a file of which only the size is kept.
type nowhere struct{ *os.File }

func (n nowhere) Write(p []byte) (int, error) {
	_, err := n.Seek(int64(len(p)), io.SeekCurrent)
	return len(p), err
}

func (n nowhere) Close() error {
	size, err := n.Seek(0, io.SeekCurrent)
	return errors.Join(err, n.Truncate(size), n.File.Close())
}

// TERMCHAT_GIGABYTE=1 in the environment makes this what it says; otherwise it is a quarter, or a
// 16th where time is short.
func TestAGigabyteGoesThroughInConstantMemory(t *testing.T) {
	size := int64(256 << 20)
	switch {
	case os.Getenv("TERMCHAT_GIGABYTE") != "":
		size = 1 << 30
	case testing.Short(), raceEnabled:
		size = 64 << 20
	}
	dir := t.TempDir()
	s := start(t, func(c *Config) {
		c.Dir = dir
		c.create = func(name string) (partial, error) {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
			return nowhere{f}, err
		}
	})
	ann := s.person("general", "ann")
	path := sparse(t, size)
	base, most := heap(), uint64(0)
	next := int64(0)
	watch := func(done, _ int64) {
		if done >= next {
			next += 16 << 20
			most = max(most, heap())
		}
	}
	file, err := ann.Upload(context.Background(), path, watch)
	require.NoError(t, err)
	assert.Equal(t, size, file.Size)
	next = 0
	ctx, cancel := context.WithCancel(context.Background())
	err = ann.Download(ctx, file.ID, filepath.Join(t.TempDir(), "copy"), func(done, total int64) {
		watch(done, total)
		if done > 48<<20 { // enough to see
			cancel()
		}
	})
	require.True(t, err == nil || errors.Is(err, context.Canceled), err)
	t.Logf("%d bytes up and down; live heap at most %d KiB more than before", size, (most-min(most, base))>>10)
	assert.Less(t, most, base+8<<20, "the live heap grew")
}

// heap returns how many bytes are live, client and server together.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAnUploadThatIsCancelledLeavesNothingAndCanBeRetried(t *testing.T) {
	s := start(t, nil)
	ann := s.person("general", "ann")
	path := sparse(t, 64<<20)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := ann.Upload(ctx, path, func(sent, _ int64) {
		if sent > 1<<20 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	exampletest.Soon(t, "the partial file is gone", func() bool { return len(s.files()) == 0 })

	file, err := ann.Upload(context.Background(), path, nil)
	require.NoError(t, err)
	assert.Equal(t, file, ann.until(client.FileShared).File, "the room is told of the second only")
	assert.Equal(t, uint64(1), s.server.broker.Stats().Accepted)
}

func TestAnUploadWhoseConnectionBreaksLeavesNothingAndCanBeRetried(t *testing.T) {
	s := start(t, nil)
	relay := s.relay()
	o := client.Options{Addr: relay.addr(), Room: "general", Name: "ann"}
	path := sparse(t, 64<<20)
	var broken atomic.Bool
	breaking := func(sent, _ int64) {
		if sent > 8<<20 && !broken.Swap(true) {
			relay.cut()
		}
	}
	_, err := client.Upload(context.Background(), o, path, breaking)
	require.Error(t, err)
	s.nothingLeft()
	_, err = client.Upload(context.Background(), o, path, breaking)
	require.NoError(t, err)
	assert.Len(t, s.files(), 1)
}

func TestAFileThatShrinksOrGrowsWhileItIsReadNeverAppears(t *testing.T) {
	s := start(t, nil)
	ann := s.person("general", "ann")
	for name, size := range map[string]int64{"shrinks": 1 << 20, "grows": 64 << 20} {
		t.Run(name, func(t *testing.T) {
			path := sparse(t, 32<<20)
			changed := false
			_, err := ann.Upload(context.Background(), path, func(int64, int64) {
				if !changed {
					changed = true
					assert.NoError(t, os.Truncate(path, size))
				}
			})
			require.Error(t, err)
			exampletest.Soon(t, "the partial file is gone", func() bool { return len(s.files()) == 0 })
		})
	}
	s.nothingLeft()
}

func TestAnUploadThatTheServerRefusesSaysWhy(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxUpload = 1 << 20 })
	ann := s.person("general", "ann")
	_, err := ann.Upload(context.Background(), sparse(t, 32<<20), nil)
	require.ErrorContains(t, err, "too large")
	_, err = ann.Upload(context.Background(), t.TempDir(), nil)
	require.ErrorContains(t, err, "not a file")
	_, err = ann.Upload(context.Background(), "/nonexistent", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	s.nothingLeft()
}

func TestADownloadThatFailsLeavesNothing(t *testing.T) {
	s := start(t, nil)
	ann := s.person("general", "ann")
	content := make([]byte, 32<<20)
	require.Equal(t, 201, s.post(whole("a", string(content))).Status)
	id, dir := s.id(), t.TempDir()
	path := filepath.Join(dir, "copy")

	require.ErrorContains(t, ann.Download(context.Background(), newID(), path, nil), "no such file")
	ctx, cancel := context.WithCancel(context.Background())
	err := ann.Download(ctx, id, path, func(int64, int64) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, s.files()[0]), append(content[1:], 1), 0o600)) // a disk that forgets
	require.ErrorContains(t, ann.Download(context.Background(), id, path, nil), "damaged")

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	sum := sha256.Sum256(content)
	assert.Equal(t, hex.EncodeToString(sum[:]), ann.until(client.FileShared).File.SHA256)
}
