package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

const boundary = "xxxxxxxxxxxxxxxxxxxxxxxx"

// part returns one part of a form.
func part(disposition, content string) string {
	return "--" + boundary + "\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
}

// form returns the body of an upload.
func form(size int, name, content, sum string) string {
	return part(`name="size"`, fmt.Sprint(size)) + part(`name="file"; filename="`+name+`"`, content) + part(`name="sha256"`, sum) + "--" + boundary + "--\r\n"
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// whole returns the body of an upload that is as it should be.
func whole(name, content string) string {
	return form(len(content), name, content, sumOf(content))
}

// post uploads a body as it is.
func (s *service) post(body string) exampletest.Answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/files?room=general&name=ann", strings.NewReader(body),
		"Content-Type", "multipart/form-data; boundary="+boundary)
}

// nothingLeft checks that the uploads so far have left nothing: no file, no partial file, no bytes
// that count, and no word in the room.
func (s *service) nothingLeft() {
	s.t.Helper()
	exampletest.Soon(s.t, "nothing is left", func() bool { // an answer or a broken connection may come first
		s.server.store.mu.Lock()
		defer s.server.store.mu.Unlock()
		return len(s.files()) == 0 && s.server.store.stored == 0 && s.server.store.count == 0
	})
	assert.Zero(s.t, s.server.broker.Stats().Accepted, "the room was told")
}

func TestAFileReachesTheRoomWithItsNameSizeAndSumAndCanBeDownloaded(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.person("general", "ann"), s.person("general", "bob")
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	path := filepath.Join(t.TempDir(), "report.pdf")
	require.NoError(t, os.WriteFile(path, content, 0o600))

	last, total := int64(0), int64(0)
	file, err := ann.Upload(context.Background(), path, func(sent, of int64) {
		assert.Greater(t, sent, last)
		last, total = sent, of
	})
	require.NoError(t, err)
	assert.Equal(t, int64(len(content)), last)
	assert.Equal(t, last, total)
	assert.Equal(t, client.File{ID: file.ID, Name: "report.pdf", Size: last, SHA256: sumOf(string(content))}, file)

	told := bob.until(client.FileShared)
	assert.Equal(t, "ann", told.Name)
	assert.Equal(t, file, told.File)
	late := s.person("general", "carl")
	assert.Equal(t, file, late.until(client.FileShared).File, "it is in the history")

	copied := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, bob.Download(context.Background(), file.ID, copied, nil))
	got, err := os.ReadFile(copied)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
	require.ErrorContains(t, bob.Download(context.Background(), file.ID, copied, nil), "exists", "nothing is replaced")
}

func TestAnEmptyFileIsAFileToo(t *testing.T) {
	s := start(t, nil)
	require.Equal(t, http.StatusCreated, s.post(whole("empty", "")).Status)
}

func TestAnUploadThatIsNotAsItShouldBeLeavesNothing(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxUpload, c.MaxStored = 1000, 1500 })
	for _, row := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"no parts", "--" + boundary + "--\r\n", 400, "size is missing"},
		{"not a form", "hello", 400, "size is missing"},
		{"no size", part(`name="file"; filename="a"`, "abc"), 400, "size must come next"},
		{"size is no number", part(`name="size"`, "many") + "--" + boundary, 400, "number of bytes"},
		{"negative size", part(`name="size"`, "-1") + "--" + boundary, 400, "number of bytes"},
		{"endless size", part(`name="size"`, strings.Repeat("1", 100)), 400, "more than 64 bytes"},
		{"too large", form(1001, "a", "abc", ""), 413, "too large"},
		{"larger than it says", form(2, "a", "abc", sumOf("abc")), 400, "longer than its size"},
		{"smaller than it says", form(4, "a", "abc", sumOf("abc")), 400, "truncated"},
		{"truncated in the file", whole("a", strings.Repeat("x", 500))[:400], 400, "truncated"},
		{"truncated before the sum", part(`name="size"`, "3") + part(`name="file"; filename="a"`, "abc"), 400, "truncated"},
		{"without a sum", part(`name="size"`, "3") + part(`name="file"; filename="a"`, "abc") + "--" + boundary + "--\r\n", 400, "sha256 is missing"},
		{"damaged", form(3, "a", "abc", sumOf("abd")), 400, "damaged"},
		{"with more parts", strings.TrimSuffix(whole("a", "abc"), "--\r\n") + "\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n--" + boundary + "--\r\n", 400, "nothing may follow"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := s.post(row.body)
			assert.Equal(t, row.status, a.Status, a.Body)
			assert.Contains(t, a.Body, row.says)
			s.nothingLeft()
		})
	}
}

func TestABodyThatCannotBeAnUploadIsRefusedBeforeItIsRead(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxUpload = 1000 })
	const path = "/files?room=general&name=ann"
	for _, row := range []struct {
		name, path, kind string
		status           int
	}{
		{"another type", path, "application/octet-stream", 415},
		{"no boundary", path, "multipart/form-data", 415},
		{"no room", "/files?name=ann", "multipart/form-data; boundary=x", 400},
		{"two names", path + "&name=bob", "multipart/form-data; boundary=x", 400},
		{"bad name", "/files?room=general&name=%1b", "multipart/form-data; boundary=x", 400},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := s.do(http.MethodPost, row.path, strings.NewReader("x"), "Content-Type", row.kind)
			assert.Equal(t, row.status, a.Status, a.Body)
		})
	}
	a := s.post(strings.Repeat("x", 1000+maxOverhead+1))
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status, "by its Content-Length")
	s.nothingLeft()
}

func TestOverQuotaThereIsNoRoomUntilThereIs(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxStored, c.MaxFiles = 10, 3 })
	require.Equal(t, http.StatusCreated, s.post(whole("a", "12345678")).Status)
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.post(whole("b", "123")).Status)
	require.Equal(t, http.StatusCreated, s.post(whole("c", "12")).Status)
	require.Equal(t, http.StatusCreated, s.post(whole("d", "")).Status)
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.post(whole("e", "")).Status, "too many files")
	assert.Len(t, s.files(), 3)
}

func TestTheNextServerCountsWhatIsThereAndRemovesWhatIsHalf(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, partialPrefix+newID()), []byte("half"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, newID()), []byte("12345678"), 0o600))
	s := start(t, func(c *Config) { c.Dir, c.MaxStored = dir, 10 })
	assert.Len(t, s.files(), 1)
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.post(whole("b", "123")).Status)
	assert.Equal(t, "12345678", s.do(http.MethodGet, "/files/"+s.files()[0], nil).Body)
}

// badDisk is a file on a disk that fails.
type badDisk struct {
	*os.File
	write, sync error
}

func (d *badDisk) Write(p []byte) (int, error) {
	if d.write != nil {
		return 0, &os.PathError{Op: "write", Path: d.Name(), Err: d.write}
	}
	return d.File.Write(p)
}

func (d *badDisk) Sync() error { return d.sync }

func TestAFullDiskIs507AndAnotherFailureIs500AndBothLeaveNothing(t *testing.T) {
	for _, row := range []struct {
		name              string
		open, write, sync error
		status            int
	}{
		{"full when it is made", syscall.ENOSPC, nil, nil, 507},
		{"full when it is written", nil, syscall.ENOSPC, nil, 507},
		{"full when it is synced", nil, nil, syscall.ENOSPC, 507},
		{"over the quota of its user", nil, syscall.EDQUOT, nil, 507},
		{"broken", nil, syscall.EIO, nil, 500},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			s := start(t, func(c *Config) {
				c.Dir = dir
				c.create = func(name string) (partial, error) {
					if row.open != nil {
						return nil, &os.PathError{Op: "open", Path: name, Err: row.open}
					}
					f, err := os.Create(filepath.Join(dir, name))
					return &badDisk{f, row.write, row.sync}, err
				}
			})
			a := s.post(whole("a", "abc"))
			assert.Equal(t, row.status, a.Status, a.Body)
			assert.NotContains(t, a.Body, dir, "a client learns nothing of the server's paths")
			s.nothingLeft()
		})
	}
}

func TestIdentityIsAskedBeforeAByteOfAnUploadIsRead(t *testing.T) {
	s := start(t, func(c *Config) {
		c.identity = func(_ *http.Request, room, name string) (string, error) {
			if room == "general" && name == "ann" {
				return "", errForbidden
			}
			return strings.ToUpper(name), nil
		}
	})
	body := &countedReader{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
	a := s.do(http.MethodPost, "/files?room=general&name=ann", body,
		"Content-Type", "multipart/form-data; boundary="+boundary, "Expect", "100-continue")
	assert.Equal(t, http.StatusForbidden, a.Status)
	assert.Zero(t, body.n)
	_, res, err := s.dial("general", "ann")
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, res.StatusCode)

	bob := s.person("general", "bob")
	assert.Equal(t, []string{"BOB"}, bob.until(client.Members).Members, "what identity says counts")
}

type countedReader struct {
	io.Reader
	n int
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestHostileFileNamesAreShownAndNeverPaths(t *testing.T) {
	s := start(t, nil)
	bob := s.person("general", "bob")
	for name, shown := range map[string]string{
		"../../../etc/passwd": "passwd", `..\\..\\boot.ini`: "boot.ini", "a\u009b31m": "a<U+009B>31m", "gnp\u202eexe.sh": "gnp<U+202E>exe.sh",
		"..": "file", strings.Repeat("n", 5000): strings.Repeat("n", wire.MaxFile),
	} {
		a := s.post(whole(name, "abc"))
		require.Equal(t, http.StatusCreated, a.Status, a.Body)
		var file wire.File
		require.NoError(t, json.Unmarshal([]byte(a.Body), &file))
		assert.Equal(t, shown, file.Name)
		assert.Equal(t, shown, bob.until(client.FileShared).File.Name)
		header := s.do(http.MethodGet, "/files/"+file.ID, nil).Header.Get("Content-Disposition")
		assert.True(t, strings.HasPrefix(header, "attachment"), header)
	}
	for _, name := range s.files() {
		assert.True(t, validID(name), name)
	}
	assert.Equal(t, http.StatusBadRequest, s.post(whole("a\x1b]0;x\a", "abc")).Status, "no header has such bytes")
}

func TestAnUploadThatStopsOnItsWayIsGivenUp(t *testing.T) {
	s := start(t, func(c *Config) { c.BodyIdle = 50 * time.Millisecond })
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() { _, _ = io.WriteString(writer, whole("a", big)[:500]) }()
	a := s.do(http.MethodPost, "/files?room=general&name=ann", reader, "Content-Type", "multipart/form-data; boundary="+boundary)
	assert.Equal(t, http.StatusRequestTimeout, a.Status, a.Body)
	s.nothingLeft()
}
