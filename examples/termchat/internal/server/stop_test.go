package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

func TestStopDeliversWhatWasAcceptedAndClosesWith1001(t *testing.T) {
	s := begin(t, context.Background(), nil)
	ann, _ := s.enter("general", "ann")
	bob, _ := s.enter("general", "bob")
	for i := range 50 {
		ann.send(fmt.Sprint(i))
	}
	exampletest.Soon(t, "all is accepted", func() bool { return s.server.broker.Stats().Accepted == 50 })
	var both sync.WaitGroup
	for _, c := range []*socketClient{ann, bob} {
		both.Go(func() {
			closing, frames := c.closed()
			assert.Equal(t, websocket.StatusGoingAway, closing.Code)
			assert.Contains(t, closing.Reason, "shutting down")
			heard := 0
			for _, f := range frames {
				if f.Message != nil {
					heard++
				}
			}
			assert.Equal(t, 50, heard)
		})
	}
	require.NoError(t, s.Stop(exampletest.Deadline(t)))
	both.Wait()
	require.NoError(t, s.Wait())
}

func TestTheServerFollowsItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := begin(t, ctx, nil)
	ann, _ := s.enter("general", "ann")
	cancel()
	closing, _ := ann.closed()
	assert.Equal(t, websocket.StatusGoingAway, closing.Code)
	require.NoError(t, s.Wait())
	_, err := net.Dial("tcp", s.Addr())
	require.Error(t, err)
}

func TestStopMayBeCalledAgainAndByMany(t *testing.T) {
	s := begin(t, context.Background(), nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { assert.NoError(t, s.Stop(exampletest.Deadline(t))) })
	}
	all.Wait()
	require.NoError(t, s.Stop(exampletest.Deadline(t)))
	require.NoError(t, s.Wait())
}

func TestStopThatMayTakeNoTimeCutsAndSaysSo(t *testing.T) {
	s := begin(t, context.Background(), nil)
	silent, _ := s.enter("general", "ann") // answers no closing frame, because nobody reads
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Stop(ctx), context.Canceled)
	exampletest.Receive(t, "the end of the server", s.done)
	var err error
	for err == nil { // why it ends may still have been sent
		_, err = silent.read()
	}
}

func TestAServerThatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"directory": func(c *Config) { c.Dir = "/dev/null/uploads" },
		"broker":    func(c *Config) { c.Buffer = -1 },
		"sockets":   func(c *Config) { c.PingInterval = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Dir = t.TempDir()
			change(&cfg)
			ln := exampletest.Listen(t)
			_, err := Start(context.Background(), ln, cfg)
			require.Error(t, err)
			_, err = ln.Accept()
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
}

// slowUpload begins an upload that is on its way until finish is called, and returns the answer on
// a channel.
func (s *service) slowUpload(content string) (finish func(), answered <-chan exampletest.Answer) {
	s.t.Helper()
	reader, writer := io.Pipe()
	answers := make(chan exampletest.Answer, 1)
	go func() { answers <- s.post(upload{name: "a", content: reader, size: len(content), sum: sumOf(content)}) }()
	_, err := io.WriteString(writer, content[:200])
	require.NoError(s.t, err)
	exampletest.Soon(s.t, "the upload has begun", func() bool { return len(s.files()) > 0 })
	return func() {
		_, _ = io.WriteString(writer, content[200:])
		_ = writer.Close()
	}, answers
}

// stopping waits until the server refuses.
func (s *service) stopping() {
	s.t.Helper()
	exampletest.Soon(s.t, "the server stops", s.server.ended.Load)
}

func TestAnUploadThatEndsWhileTheServerStopsIsKeptAndTold(t *testing.T) {
	s := begin(t, context.Background(), func(c *Config) { c.UploadGrace = within })
	ann, _ := s.enter("general", "ann")
	finish, answered := s.slowUpload(big)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(exampletest.Deadline(t)) }()
	s.stopping()

	a := s.post(whole("b", "abc"))
	assert.Equal(t, http.StatusServiceUnavailable, a.Status, "nothing new begins")
	assert.Equal(t, http.StatusServiceUnavailable, s.do(http.MethodGet, "/readyz", nil).Status)
	assert.Equal(t, http.StatusOK, s.do(http.MethodGet, "/healthz", nil).Status)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	_, res, err := s.dial("general", "bob")
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)

	finish()
	assert.Equal(t, http.StatusCreated, exampletest.Receive(t, "an answer", answered).Status)
	assert.Equal(t, "a", ann.message().File.Name)
	closing, _ := ann.closed()
	assert.Equal(t, websocket.StatusGoingAway, closing.Code)
	require.NoError(t, exampletest.Receive(t, "the end of Stop", stopped))
	assert.Len(t, s.files(), 1)
}

func TestAnUploadThatDoesNotEndIsRefusedAndLeavesNothing(t *testing.T) {
	s := begin(t, context.Background(), func(c *Config) { c.UploadGrace = 10 * time.Millisecond })
	ann, _ := s.enter("general", "ann")
	finish, answered := s.slowUpload(big)
	defer finish()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(exampletest.Deadline(t)) }()
	a := exampletest.Receive(t, "an answer", answered)
	assert.Equal(t, http.StatusServiceUnavailable, a.Status, a.Body)
	assert.Contains(t, a.Body, "stopping")
	_, frames := ann.closed()
	for _, f := range frames {
		assert.Equal(t, broadcastws.Ended, f.Event, "the room is told")
	}
	require.NoError(t, exampletest.Receive(t, "the end of Stop", stopped))
	assert.Empty(t, s.files())
}

func TestADownloadThatNobodyReadsHoldsUpStopForAMomentOnly(t *testing.T) {
	s := begin(t, context.Background(), func(c *Config) { c.UploadGrace = 10 * time.Millisecond })
	require.Equal(t, http.StatusCreated, s.post(whole("a", string(make([]byte, 32<<20)))).Status)
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /rooms/general/files/%s?name=ann HTTP/1.1\r\nHost: localhost\r\n\r\n", s.id())
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, s.Stop(exampletest.Deadline(t)))
}

func TestClientsOfAServerThatIsStoppedWaitForTheNext(t *testing.T) {
	s := begin(t, context.Background(), nil)
	ann := s.person("general", "ann")
	require.NoError(t, s.Stop(exampletest.Deadline(t)))
	offline := ann.state(client.Offline)
	require.ErrorIs(t, offline.Err, client.ErrStopping)
	assert.Positive(t, offline.Retry)
	require.ErrorIs(t, ann.Send(context.Background(), "hello"), client.ErrOffline)
	require.Error(t, ann.state(client.Offline).Err)
	require.NoError(t, ann.Close())
	for {
		e, ok := ann.next()
		if !ok {
			break
		}
		assert.NotEqual(t, client.Online, e.State)
	}
	require.ErrorIs(t, ann.Send(context.Background(), "hello"), client.ErrClosed)
}
