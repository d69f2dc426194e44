package broadcastws_test

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastws"
)

// Clients by others. A test of one that is not installed is skipped; .ci/run installs all.
var foreign = map[string]struct {
	installed, run []string // commands; the URL is added to run
	page           bool     // run opens a page
}{
	"websockets of Python": {
		installed: []string{"/usr/bin/python3", "-c", "import websockets"},
		run:       []string{"/usr/bin/python3", "testdata/client.py"},
	},
	"ws of npm": {
		installed: []string{"node", "-e", "require('ws')"},
		run:       []string{"node", "testdata/client.js"},
	},
	"chromium": {
		installed: []string{"chromium", "--version"},
		run: []string{
			"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
			"--disable-component-update", "--timeout=20000", "--dump-dom",
		},
		page: true,
	},
}

// command returns a command that ends with the test.
func command(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*within)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env = append(os.Environ(), "NODE_PATH=/usr/share/nodejs") // where Debian has modules
	c.WaitDelay = time.Second
	return c
}

// Promise 82.
func TestForeignClientsGetEveryFrameAndTheCloseCode(t *testing.T) {
	for name, client := range foreign {
		t.Run(name, func(t *testing.T) {
			if command(t, client.installed).Run() != nil {
				t.Skip("not installed")
			}
			s := start(t, func(o *options) {
				o.Compression = true             // for those who ask
				o.CloseTimeout = 5 * time.Second // on a busy machine, a client is slow to answer
			})
			end := make(chan struct{})
			mux := http.NewServeMux()
			mux.Handle("/socket", s.server)
			mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
				http.ServeFile(w, r, "testdata/page.html")
			})
			mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) { <-end })
			s.handle(mux)
			url := strings.Replace(s.url("chat=c&device=foreign"), "/?", "/socket?", 1)
			if client.page {
				url = s.http.URL + "/page"
			}

			run := command(t, append(client.run, url))
			var out, problems strings.Builder
			run.Stdout, run.Stderr = &out, &problems
			require.NoError(t, run.Start())
			for deadline := time.Now().Add(within); s.broker.Stats().Subscribers == 0; {
				require.True(t, time.Now().Before(deadline), "it does not connect: %s", &problems)
				time.Sleep(time.Millisecond)
			}
			want := []string{"a", "Grüße 🙂", "", strings.Repeat("long ", 100_000)}
			for range 200 {
				want = append(want, "x")
			}
			s.publish(want...)
			require.NoError(t, s.broker.Shutdown(context.Background()))
			require.NoError(t, s.server.Drain(context.Background()))
			close(end)
			require.NoError(t, run.Wait(), "%s", &problems)

			text := out.String()
			if client.page {
				_, text, _ = strings.Cut(text, "<pre>")
				text, _, _ = strings.Cut(html.UnescapeString(text), "</pre>")
			}
			lines := strings.Split(strings.TrimSpace(text), "\n")
			assert.Equal(t, "closed 1001 the server is shutting down", lines[len(lines)-1])
			var got []string
			var events []broadcastws.Kind
			for _, line := range lines[:len(lines)-1] {
				var f frame
				require.NoError(t, json.Unmarshal([]byte(line), &f), "%q", line)
				if f.Event == "" {
					got = append(got, f.Message)
				} else {
					events = append(events, f.Event)
				}
			}
			assert.Equal(t, want, got)
			assert.Equal(t, []broadcastws.Kind{broadcastws.Ready, broadcastws.Ended}, events)
			assert.Empty(t, s.log.String())
		})
	}
}
