package client

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is what a server that is none does with the nth connection.
type script func(t *testing.T, n int, ws *websocket.Conn)

// against returns a client of a server that follows a script, until the test ends.
func against(t *testing.T, do script) *Client {
	t.Helper()
	var n atomic.Int64
	return of(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // the client has gone
		}
		defer ws.CloseNow()
		do(t, int(n.Add(1)), ws)
	})
}

func of(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	c, err := New(Options{
		Addr: strings.TrimPrefix(s.URL, "http://"), Room: "general", Name: "ann",
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// say sends a frame to a client, which may have gone.
func say(t *testing.T, ws *websocket.Conn, f wire.Frame) {
	t.Helper()
	b, err := json.Marshal(f)
	require.NoError(t, err)
	_ = ws.Write(context.Background(), websocket.MessageText, b)
}

var ready = wire.Frame{Event: broadcastws.Ready, Devices: []string{"ann"}, Position: "a-0"}

// said is the frame of a message.
func said(name, text, position string) wire.Frame {
	return wire.Frame{Message: &wire.Message{Name: name, Text: text}, Position: position}
}

// next returns the next event that satisfies a condition.
func next(t *testing.T, c *Client, wanted func(Event) bool) Event {
	t.Helper()
	timeout := time.After(exampletest.Within)
	for {
		select {
		case e, ok := <-c.Events():
			require.True(t, ok, "there are no more events")
			if wanted(e) {
				return e
			}
		case <-timeout:
			require.FailNow(t, "no such event has come")
		}
	}
}

func is(state State) func(Event) bool {
	return func(e Event) bool { return e.Kind == StateChanged && e.State == state }
}

func kind(k EventKind) func(Event) bool { return func(e Event) bool { return e.Kind == k } }

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, o := range []Options{{}, {Addr: "x", Room: "a"}, {Addr: "x", Name: "a"}, {Room: "a", Name: "b"}, {Addr: "x", Room: "a\x1b", Name: "b"}} {
		_, err := New(o)
		require.Error(t, err)
	}
}

func TestWhatTheServerSaysCannotReachTheTerminal(t *testing.T) {
	const evil = "\x1b]0;x\a\u202e"
	const shown = "␛]0;x␇<U+202E>"
	c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
		say(t, ws, wire.Frame{Event: broadcastws.Ready, Devices: []string{evil}})
		for _, f := range []wire.Frame{
			said(evil, evil, ""),
			{Message: &wire.Message{Name: evil, File: &wire.File{ID: evil, Name: evil, SHA256: evil}}},
			{Event: broadcastws.Joined, Device: "bob" + evil},
			{Event: broadcastws.Left, Device: "bob" + evil},
			{Event: "new in a later version", Reason: evil},
			{},
		} {
			say(t, ws, f)
		}
		_ = ws.Close(4999, evil)
	})
	assert.Equal(t, []string{shown}, next(t, c, kind(Members)).Members)
	e := next(t, c, kind(Message))
	assert.Equal(t, [2]string{shown, shown}, [2]string{e.Name, e.Text})
	assert.Equal(t, File{ID: shown, Name: shown, SHA256: shown}, next(t, c, kind(FileShared)).File)
	assert.Equal(t, "bob"+shown, next(t, c, kind(Joined)).Name)
	assert.Equal(t, "bob"+shown, next(t, c, kind(Left)).Name)
	err := next(t, c, is(Offline)).Err.Error()
	assert.Contains(t, err, shown)
	assert.NotContains(t, err, "\x1b")
}

func TestAClientComesBackAfterThePlaceUpToWhichItHasHandedOut(t *testing.T) {
	places := make(chan string, 100)
	c := of(t, func(w http.ResponseWriter, r *http.Request) {
		places <- r.URL.Query().Get("after")
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // the client has gone
		}
		defer ws.CloseNow()
		say(t, ws, ready)
		say(t, ws, said("bob", "hi", "a-1"))
		say(t, ws, wire.Frame{Event: broadcastws.Joined, Device: "bob"})
	})
	next(t, c, kind(Joined))
	next(t, c, is(Offline))
	next(t, c, is(Online))
	assert.Empty(t, exampletest.Receive(t, "a first place", places))
	assert.Equal(t, "a-1", exampletest.Receive(t, "a second place", places))
}

func TestComingAndGoingKeepsTheMembersSortedAndOnce(t *testing.T) {
	c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
		say(t, ws, ready)
		for _, name := range []string{"carl", "ann", "bob"} {
			say(t, ws, wire.Frame{Event: broadcastws.Joined, Device: name})
		}
		for _, name := range []string{"nobody", "bob"} {
			say(t, ws, wire.Frame{Event: broadcastws.Left, Device: name})
		}
		_, _, _ = ws.Read(context.Background())
	})
	var changes []string
	for range 4 {
		e := next(t, c, func(e Event) bool { return e.Kind == Members || e.Kind == Joined || e.Kind == Left })
		changes = append(changes, fmt.Sprint(e.Name, e.Members))
	}
	assert.Equal(t, []string{"[ann]", "carl[ann carl]", "bob[ann bob carl]", "bob[ann carl]"}, changes)
}

func TestEachEndOfAConnectionMeansSomething(t *testing.T) {
	for _, row := range []struct {
		name  string
		code  websocket.StatusCode
		err   error
		final bool
	}{
		{"the server stops", websocket.StatusGoingAway, ErrStopping, false},
		{"too slow", websocket.StatusTryAgainLater, ErrSlow, false},
		{"replaced", wire.StatusReplaced, ErrReplaced, true},
		{"not understood", websocket.StatusPolicyViolation, nil, true},
		{"broken", websocket.StatusInternalError, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
				say(t, ws, ready)
				_ = ws.Close(row.code, "said")
			})
			state := Offline
			if row.final {
				state = Closed
			}
			e := next(t, c, is(state))
			require.Error(t, e.Err)
			if row.err != nil {
				require.ErrorIs(t, e.Err, row.err)
			}
			if row.final {
				require.ErrorIs(t, c.Send(context.Background(), "hello"), e.Err)
			} else {
				next(t, c, is(Online))
			}
		})
	}
}

func TestAConnectionThatEndsWithoutAWordIsLostHoweverItEnds(t *testing.T) {
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.NewSyscallError("read", syscall.ECONNRESET)} {
		assert.EqualError(t, lost(&net.OpError{Op: "read", Err: err}), "connection lost")
	}
	assert.EqualError(t, lost(&net.OpError{Op: "read", Err: errors.New("no route")}), "connection lost: no route")
}

func TestAClientThatIsCutOffWithoutAWordKnowsThatItWasSlow(t *testing.T) {
	c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
		say(t, ws, ready)
		if n > 1 {
			_, _, _ = ws.Read(context.Background()) // until the client leaves
			return
		}
		for i := range 200 {
			say(t, ws, said("bob", "hello", fmt.Sprintf("a-%d", i+1)))
		}
	})
	exampletest.Soon(t, "nothing more is handed out", func() bool { return len(c.events) == cap(c.events) })
	time.Sleep(2 * longWait) // on the real clock
	offline := next(t, c, is(Offline))
	require.ErrorIs(t, offline.Err, ErrSlow)
	assert.Contains(t, offline.Err.Error(), "nothing was read for")
	next(t, c, is(Online))
}

func TestWhatAServerRefusesForGoodIsNotTriedAgain(t *testing.T) {
	c := of(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "not\x1byours"})
	})
	assert.EqualError(t, next(t, c, is(Closed)).Err, "not␛yours")
}

func TestWhatAServerCannotDoNowIsTriedAgain(t *testing.T) {
	c := of(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	for range 3 {
		assert.ErrorContains(t, next(t, c, is(Offline)).Err, "503")
	}
}

func TestAServerOfAnotherKindIsNoticed(t *testing.T) {
	c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
		_ = ws.Write(context.Background(), websocket.MessageText, []byte(`{"event":"other"}`))
	})
	assert.ErrorContains(t, next(t, c, is(Offline)).Err, "not a termchat server")
}

func TestAMessageWhoseAnswerIsLostMayHaveArrived(t *testing.T) {
	c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
		say(t, ws, ready)
		if n == 1 {
			_, _, _ = ws.Read(context.Background())
			return
		}
		_, text, err := ws.Read(context.Background())
		if err == nil {
			assert.Equal(t, "hello", string(text))
			say(t, ws, wire.Frame{Event: wire.Refused, Reason: "no\x1b"})
			_, _, _ = ws.Read(context.Background())
		}
	})
	next(t, c, is(Online))
	require.ErrorIs(t, c.Send(context.Background(), "hello"), ErrUnsure)
	next(t, c, is(Online))
	require.EqualError(t, c.Send(context.Background(), "hello"), "no␛")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.Error(t, c.Send(ctx, "hello"))
	require.Error(t, c.Send(context.Background(), ""))
}

func TestCloseIsPromptWhateverTheServerDoes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // answers nothing
	require.NoError(t, err)
	defer ln.Close()
	c, err := New(Options{Addr: ln.Addr().String(), Room: "general", Name: "ann"})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Send(context.Background(), "hello"), ErrClosed)

	flooded := against(t, func(t *testing.T, n int, ws *websocket.Conn) { // nobody reads its events
		say(t, ws, ready)
		for ws.Write(context.Background(), websocket.MessageText, []byte(`{"message":{"text":"hi"}}`)) == nil {
		}
	})
	next(t, flooded, is(Online))
	require.NoError(t, flooded.Close())
}

func TestTheWaitsGrowAndDiffer(t *testing.T) {
	const least, most = 100 * time.Millisecond, 5 * time.Second
	for failures, mean := range []time.Duration{least, 2 * least, 4 * least, 8 * least, 16 * least, 32 * least, most, most} {
		seen := map[time.Duration]bool{}
		for range 100 {
			wait := backoff(least, most, failures)
			assert.GreaterOrEqual(t, wait, mean/2)
			assert.Less(t, wait, mean*3/2)
			seen[wait] = true
		}
		assert.Greater(t, len(seen), 50)
	}
	assert.LessOrEqual(t, backoff(least, most, 1000), most*3/2)
}

func TestAnswersAreForThePostsInTheirOrder(t *testing.T) {
	c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
		say(t, ws, ready)
		for {
			_, text, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			say(t, ws, wire.Frame{Event: wire.Refused, Reason: string(text)})
		}
	})
	next(t, c, is(Online))
	ignored, cancel := context.WithCancel(context.Background())
	cancel()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			text := fmt.Sprint(i)
			if i%5 == 0 {
				_ = c.Send(ignored, text) // whose answer nobody waits for
				return
			}
			assert.EqualError(t, c.Send(context.Background(), text), text)
		})
	}
	all.Wait()
}

func TestAnAnswerToNothingEndsTheConnection(t *testing.T) {
	c := against(t, func(t *testing.T, n int, ws *websocket.Conn) {
		say(t, ws, ready)
		say(t, ws, wire.Frame{Event: wire.Accepted})
		_, _, _ = ws.Read(context.Background())
	})
	assert.ErrorContains(t, next(t, c, is(Offline)).Err, "not asked")
}

func TestASourceThatFailsHalfWayIsNeverSentToItsEnd(t *testing.T) {
	got := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		got <- err
	}))
	defer s.Close()
	broken := errors.New("the disk is broken")
	o := Options{Addr: strings.TrimPrefix(s.URL, "http://"), Room: "general", Name: "ann"}
	_, err := send(context.Background(), o, &failing{after: 1 << 20, err: broken}, "a", 2<<20, sha256.New(), nil)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, exampletest.Receive(t, "the end of the upload", got), io.ErrUnexpectedEOF)
}

func TestATransferOfWhichNothingMovesIsGivenUp(t *testing.T) {
	c := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "12345")
			_ = http.NewResponseController(w).Flush()
		} else {
			_, _ = r.Body.Read(make([]byte, 1))
		}
		<-c
	}))
	defer s.Close()
	defer close(c)
	o := Options{Addr: strings.TrimPrefix(s.URL, "http://"), Room: "general", Name: "ann", Idle: 50 * time.Millisecond}
	err := Download(context.Background(), o, "id", filepath.Join(t.TempDir(), "copy"), nil)
	require.ErrorContains(t, err, "nothing has moved")
	_, err = send(context.Background(), o, &failing{after: 1 << 30}, "a", 1<<30, sha256.New(), nil)
	require.ErrorContains(t, err, "nothing has moved")
}

// failing is a source that fails after some bytes.
type failing struct {
	after int
	err   error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.after <= 0 {
		return 0, f.err
	}
	n := min(len(p), f.after)
	f.after -= n
	return n, nil
}
