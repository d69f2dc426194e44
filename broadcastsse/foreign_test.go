package broadcastsse_test

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastsse"
)

// Clients by others. A test of one that is not installed is skipped; .ci/run installs all.
var foreign = map[string]struct {
	installed, run []string // commands; the URL is added to run
	page           bool     // run opens a page
}{
	"eventsource of npm": {
		installed: []string{"node", "-e", "require('eventsource')"},
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

// Promises 82 and 88.
func TestForeignClientsGetEveryEventAndGiveUpWhenTheyAreKicked(t *testing.T) {
	for name, client := range foreign {
		t.Run(name, func(t *testing.T) {
			if command(t, client.installed).Run() != nil {
				t.Skip("not installed")
			}
			var requests atomic.Int64
			end := make(chan struct{})
			s := start(t, func(o *options) {
				o.Retry = time.Millisecond
				o.Admit = func(r *http.Request) (broadcastsse.Ticket, error) {
					ticket, err := admit(r)
					if requests.Load() == 1 {
						err = &broadcastsse.Refusal{Status: http.StatusServiceUnavailable, RetryAfter: time.Millisecond}
					}
					return ticket, err
				}
			})
			mux := http.NewServeMux()
			mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				s.server.ServeHTTP(w, r)
			})
			mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
				http.ServeFile(w, r, "testdata/page.html")
			})
			mux.HandleFunc("/gaveup", func(http.ResponseWriter, *http.Request) { close(end) })
			mux.HandleFunc("/end", func(http.ResponseWriter, *http.Request) { <-end })
			s.handle(mux)
			url := s.http.URL + "/events?chat=c&device=foreign"
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
			want := []string{"a", "Grüße 🙂", "two\nlines", strings.Repeat("long ", 100_000)}
			for range 200 {
				want = append(want, "x")
			}
			s.publish(want...)
			for s.broker.Stats().Pending > 0 { // a kick discards what it has not taken
				time.Sleep(time.Millisecond)
			}
			require.True(t, s.broker.Kick("c", "foreign", nil))
			require.NoError(t, run.Wait(), "%s", &problems)

			text := out.String()
			if client.page {
				_, text, _ = strings.Cut(text, "<pre>")
				text, _, _ = strings.Cut(html.UnescapeString(text), "</pre>")
			}
			var names, got []string
			for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
				var e [2]string
				require.NoError(t, json.Unmarshal([]byte(line), &e), "%q", line)
				if e[0] == "message" {
					got = append(got, event{data: e[1]}.decoded(t).Message)
				} else {
					names = append(names, e[0])
				}
			}
			assert.Equal(t, want, got)
			assert.Equal(t, []string{"ready", "ended", "gave up"}, names)
			assert.EqualValues(t, 3, requests.Load(), "refused for now, served, and told to give up")
		})
	}
}
