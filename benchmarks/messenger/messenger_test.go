package messenger_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/benchmarks/messenger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func rooms(t *testing.T) map[string]messenger.Room {
	broadcast, err := messenger.NewBroadcast()
	require.NoError(t, err)
	return map[string]messenger.Room{"broadcast": broadcast, "hub": messenger.NewHub(), "loop": messenger.NewLoop()}
}

// frames returns what a client gets, as it comes, and ends with the test.
func frames(c *messenger.Client) <-chan string {
	got := make(chan string, 1000)
	go func() {
		defer close(got)
		for frame := range c.Frames() {
			got <- string(frame)
		}
	}()
	return got
}

func requireFrame(t *testing.T, got <-chan string, want string) {
	t.Helper()
	select {
	case frame, ok := <-got:
		require.True(t, ok, "the connection has ended")
		require.Equal(t, want, frame)
	case <-time.After(30 * time.Second):
		require.FailNow(t, "no frame came")
	}
}

func TestEveryClientGetsEveryPost(t *testing.T) {
	for name, room := range rooms(t) {
		t.Run(name, func(t *testing.T) {
			server, err := messenger.Start(room)
			require.NoError(t, err)
			defer server.Close()
			poster := messenger.NewPoster(server.Addr())
			defer poster.Close()
			var clients []<-chan string
			for i := range 3 {
				c, err := messenger.Dial(server.Addr(), fmt.Sprint(i), false)
				require.NoError(t, err)
				defer c.Close()
				clients = append(clients, frames(c))
			}
			for i := range 20 {
				text := fmt.Sprint(i) + strings.Repeat(" long", 10*i)
				require.NoError(t, poster.Post(messenger.Post{Text: text, By: 7, Chat: 1}))
				for _, got := range clients {
					requireFrame(t, got, fmt.Sprintf(`{"text":%q,"by":7,"chat":1}`, text))
				}
			}
		})
	}
}

// The library drops for a client that has stopped reading, the hub cuts it off: the others get
// everything from both.
func TestAClientThatDoesNotReadStopsNobody(t *testing.T) {
	for name, room := range rooms(t) {
		if name == "loop" {
			room.Close()
			continue
		}
		t.Run(name, func(t *testing.T) {
			server, err := messenger.Start(room)
			require.NoError(t, err)
			defer server.Close()
			poster := messenger.NewPoster(server.Addr())
			defer poster.Close()
			stopped, err := messenger.Dial(server.Addr(), "stopped", true)
			require.NoError(t, err)
			defer stopped.Close()
			c, err := messenger.Dial(server.Addr(), "healthy", false)
			require.NoError(t, err)
			defer c.Close()
			got := frames(c)
			for i := range 500 {
				text := fmt.Sprint(i, strings.Repeat(" long", 100))
				require.NoError(t, poster.Post(messenger.Post{Text: text}))
				requireFrame(t, got, fmt.Sprintf(`{"text":%q,"by":0,"chat":0}`, text))
			}
		})
	}
}

func TestBadPostsAreRefused(t *testing.T) {
	server, err := messenger.Start(messenger.NewHub())
	require.NoError(t, err)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Post("http://"+server.Addr()+"/message", "application/json", strings.NewReader(`{"text":`))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusBadRequest, response.StatusCode)
}
