package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/token"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// upload is an upload by ann to general, unless it says otherwise.
type upload struct {
	name    string
	content io.Reader
	size    int // as Content-Length says; below 0: it does not
	sum     string
	query   string // instead of ann's
	header  string // instead of that with the sum
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// whole returns an upload that is as it should be.
func whole(name, content string) upload {
	return upload{name: name, content: strings.NewReader(content), size: len(content), sum: sumOf(content)}
}

// post uploads something, over a connection of its own.
func (s *service) post(u upload) exampletest.Answer {
	s.t.Helper()
	query := cmp.Or(u.query, url.Values{"name": {"ann"}, "file": {u.name}}.Encode())
	req, err := http.NewRequest(http.MethodPost, "http://"+s.Addr()+"/rooms/general/files?"+query, io.NopCloser(u.content))
	require.NoError(s.t, err)
	if req.ContentLength = int64(u.size); u.size == 0 {
		req.Body = http.NoBody
	}
	sum, err := hex.DecodeString(u.sum)
	require.NoError(s.t, err)
	req.Header.Set("Repr-Digest", cmp.Or(u.header, "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":"))
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: within}).Do(req)
	require.NoError(s.t, err)
	return exampletest.Read(s.t, res)
}

// id returns the id of the only file.
func (s *service) id() string {
	s.t.Helper()
	files := s.files()
	require.Len(s.t, files, 1)
	id, _, _ := strings.Cut(files[0], ".")
	return id
}

// get downloads a file of general.
func (s *service) get(id string, headers ...string) exampletest.Answer {
	s.t.Helper()
	return s.do(http.MethodGet, "/rooms/general/files/"+id+"?name=ann", nil, headers...)
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
	abc := func(change func(*upload)) upload {
		u := whole("a", "abc")
		change(&u)
		return u
	}
	for _, row := range []struct {
		name   string
		upload upload
		status int
		says   string
	}{
		{"no size", abc(func(u *upload) { u.size = -1 }), 411, "Content-Length is missing"},
		{"too large", whole("a", strings.Repeat("x", 1001)), 413, "too large"},
		{"no sum", abc(func(u *upload) { u.header = " " }), 400, "Repr-Digest"},
		{"another sum", abc(func(u *upload) { u.header = "md5=:kAFQmDzST7DWlj99KOF/cg==:" }), 400, "Repr-Digest"},
		{"damaged", abc(func(u *upload) { u.sum = sumOf("abd") }), 400, "damaged"},
		{"no name", abc(func(u *upload) { u.query = "file=a" }), 400, "name"},
		{"two names", abc(func(u *upload) { u.query = "name=ann&name=bob" }), 400, "name is given twice"},
		{"bad name", abc(func(u *upload) { u.query = "name=%1b" }), 400, "name must be"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := s.post(row.upload)
			assert.Equal(t, row.status, a.Status, a.Body)
			assert.Contains(t, a.Body, row.says)
			s.nothingLeft()
		})
	}
}

func TestAnUploadThatIsCutShortLeavesNothing(t *testing.T) {
	s := start(t, nil)
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /rooms/general/files?name=ann HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nRepr-Digest: sha-256=:%s:\r\n\r\n12345",
		base64.StdEncoding.EncodeToString(make([]byte, 32)))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Contains(t, string(answer), "400 Bad Request")
	assert.Contains(t, string(answer), "truncated")
	s.nothingLeft()
}

// A client that still sends when it is refused gets the answer, however much it sends.
func TestARefusedUploadIsAnsweredWhileTheClientSends(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxStored = 1 << 20 })
	for range 5 {
		a := s.post(upload{name: "a", content: io.LimitReader(zeros{}, 64<<20), size: 64 << 20, sum: sumOf("")})
		assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status, a.Body)
		assert.Contains(t, a.Body, "no room")
	}
	s.nothingLeft()
}

// zeros are a file of any size.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What a client announces takes up no space; only what it sends does.
func TestAnnouncedBytesTakeNoRoom(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxStored, c.MaxUpload = 1000, 1000 })
	var writers []*io.PipeWriter
	answered := make(chan exampletest.Answer, 4)
	for range 4 {
		reader, writer := io.Pipe()
		writers = append(writers, writer)
		go func() { answered <- s.post(upload{name: "a", content: reader, size: 1000, sum: sumOf("")}) }()
	}
	exampletest.Soon(t, "four have begun", func() bool { return len(s.files()) == 4 })
	assert.Equal(t, http.StatusCreated, s.post(whole("b", big[:900])).Status)
	for _, writer := range writers {
		_, _ = io.WriteString(writer, big[:900])
		a := exampletest.Receive(t, "an answer", answered)
		assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status, "what comes too late is refused on its way")
		_ = writer.Close()
	}
	exampletest.Soon(t, "nothing is left of them", func() bool { return len(s.files()) == 1 })
}

func TestAPersonHasAQuotaThatOthersDoNotUse(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxPerPerson = 10 })
	require.Equal(t, http.StatusCreated, s.post(whole("a", "12345678")).Status)
	a := s.post(whole("b", "123"))
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
	assert.Contains(t, a.Body, "per person")
	of := whole("c", "123")
	of.query = "name=bob&file=c"
	assert.Equal(t, http.StatusCreated, s.post(of).Status)
}

func TestAFileGoesWhenItsAgeIsOver(t *testing.T) {
	s := start(t, func(c *Config) { c.FileAge, c.MaxFiles, c.MaxPerPerson = 100*time.Millisecond, 1, 4 })
	require.Equal(t, http.StatusCreated, s.post(whole("a", "abc")).Status)
	id := s.id()
	exampletest.Soon(t, "it is gone", func() bool { return s.get(id).Status == http.StatusNotFound })
	assert.Empty(t, s.files())
	require.Equal(t, http.StatusCreated, s.post(whole("b", "abc")).Status, "there is room again")
}

func TestAnAddressHasSoManyTransfersAtATime(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxPerAddress, c.BodyIdle = 2, within })
	for range 2 {
		finish, answered := s.slowUpload(big)
		defer func() { finish(); <-answered }()
	}
	a := s.post(whole("a", "abc"))
	assert.Equal(t, http.StatusTooManyRequests, a.Status)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	assert.Equal(t, http.StatusTooManyRequests, s.get(newID()).Status)
}

func TestAnUploadThatIsTooSlowIsGivenUpThoughItNeverStops(t *testing.T) {
	s := start(t, func(c *Config) { c.BodyIdle, c.MinRate = 200*time.Millisecond, 1<<40 })
	reader, writer := io.Pipe()
	go func() {
		for {
			if _, err := writer.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // on the real clock, because a network that is slow is meant
		}
	}()
	a := s.post(upload{name: "a", content: reader, size: 1 << 20, sum: sumOf("")})
	assert.Equal(t, http.StatusRequestTimeout, a.Status, a.Body)
	require.NoError(t, reader.Close())
	s.nothingLeft()
}

func TestAFileIsOfItsRoomAlone(t *testing.T) {
	asked := make(chan string, 10)
	s := start(t, func(c *Config) {
		c.identity = func(_ *http.Request, room, name string) (string, error) {
			asked <- room
			if room == "secret" && name != "ann" {
				return "", &broadcastws.Refusal{Status: http.StatusForbidden, Text: "not yours"}
			}
			return name, nil
		}
	})
	require.Equal(t, http.StatusCreated, s.post(whole("a", "abc")).Status)
	id := s.id()
	assert.Equal(t, http.StatusOK, s.get(id).Status)
	assert.Equal(t, http.StatusNotFound, s.do(http.MethodGet, "/rooms/secret/files/"+id+"?name=ann", nil).Status, "in another room")
	assert.Equal(t, http.StatusForbidden, s.do(http.MethodGet, "/rooms/secret/files/"+id+"?name=bob", nil).Status)
	close(asked)
	var rooms []string
	for room := range asked {
		rooms = append(rooms, room)
	}
	assert.Equal(t, []string{"general", "general", "secret", "secret"}, rooms, "identity knows the room of a download")
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
	require.NoError(t, os.WriteFile(filepath.Join(dir, nameOf("general", newID())), []byte("12345678"), 0o600))
	old := filepath.Join(dir, nameOf("general", newID()))
	require.NoError(t, os.WriteFile(old, []byte("12345678"), 0o600))
	require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-25*time.Hour)))
	s := start(t, func(c *Config) { c.Dir, c.MaxStored = dir, 10 })
	assert.Len(t, s.files(), 1)
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.post(whole("b", "123")).Status)
	assert.Equal(t, "12345678", s.get(s.id()).Body)
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
				return "", &broadcastws.Refusal{Status: http.StatusForbidden, Text: "not yours"}
			}
			return strings.ToUpper(name), nil
		}
	})
	body := &countedReader{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
	a := s.do(http.MethodPost, "/rooms/general/files?name=ann", body, "Expect", "100-continue")
	assert.Equal(t, http.StatusForbidden, a.Status)
	assert.Zero(t, body.n)
	_, res, err := s.dial("general", "ann")
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, res.StatusCode)

	bob := s.person("general", "bob")
	assert.Equal(t, []string{"BOB"}, bob.until(client.Members).Members, "what identity says counts")
}

func TestWithASecretATokenSaysWhoSomebodyIs(t *testing.T) {
	const secret = "a secret of the tests, of 32 bytes or more"
	s := start(t, func(c *Config) { c.Secret = secret })
	issue := func(key token.Key, age time.Duration) string {
		issued, err := key.Issue("ann", age)
		require.NoError(t, err)
		return issued
	}
	ann := issue(secret, time.Hour)
	for _, row := range []struct {
		name, token string
		status      int
	}{
		{"ann", "", http.StatusUnauthorized},
		{"ann", ann + "x", http.StatusUnauthorized},
		{"ann", issue(secret, 0), http.StatusUnauthorized},
		{"ann", issue("another", time.Hour), http.StatusUnauthorized},
		{"bob", ann, http.StatusForbidden},
		{"ann", ann, http.StatusNotFound},
		{"", ann, http.StatusNotFound},
	} {
		a := s.do(http.MethodGet, "/rooms/general/files/x?name="+row.name, nil, "Authorization", "Bearer "+row.token)
		assert.Equal(t, row.status, a.Status, row)
	}
	c, err := client.New(client.Options{Addr: s.Addr(), Room: "general", Name: "ann", Token: ann})
	require.NoError(t, err)
	defer c.Close()
	(&person{c, t}).says("hello")
	strange, err := client.New(client.Options{Addr: s.Addr(), Room: "general", Name: "bob", Token: ann})
	require.NoError(t, err)
	defer strange.Close()
	assert.ErrorContains(t, (&person{strange, t}).state(client.Closed).Err, "another name")
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
		"../../../etc/passwd": "passwd", `..\..\boot.ini`: "boot.ini", "a\u009b31m": "a<U+009B>31m", "gnp\u202eexe.sh": "gnp<U+202E>exe.sh",
		"..": "file", "\u2800\u200b": "file", "a\x1b]0;x\a": "a␛]0;x␇", strings.Repeat("n", 5000): strings.Repeat("n", wire.MaxFile),
	} {
		a := s.post(whole(name, "abc"))
		require.Equal(t, http.StatusCreated, a.Status, a.Body)
		var file wire.File
		require.NoError(t, json.Unmarshal([]byte(a.Body), &file))
		assert.Equal(t, shown, file.Name)
		assert.Equal(t, shown, bob.until(client.FileShared).File.Name)
		header := s.get(file.ID).Header.Get("Content-Disposition")
		assert.True(t, strings.HasPrefix(header, "attachment"), header)
	}
	for _, name := range s.files() {
		assert.Regexp(t, "^[a-z2-7]{26}\\.[0-9a-f]{32}$", name)
	}
}

func TestAnUploadThatStopsOnItsWayIsGivenUp(t *testing.T) {
	s := start(t, func(c *Config) { c.BodyIdle = 50 * time.Millisecond })
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() { _, _ = io.WriteString(writer, big[:500]) }()
	a := s.post(upload{name: "a", content: reader, size: len(big), sum: sumOf(big)})
	assert.Equal(t, http.StatusRequestTimeout, a.Status, a.Body)
	s.nothingLeft()
}
