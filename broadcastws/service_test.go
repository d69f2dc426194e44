package broadcastws_test

import (
	"context"
	"html"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// codeOf returns the code of a language in docs/service.md.
func codeOf(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/service.md")
	require.NoError(t, err)
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	require.NotEmpty(t, blocks)
	return blocks
}

// The code of docs/service.md is in the example word for word, and runs.
func TestTheCodeOfTheServiceIsThatOfItsExample(t *testing.T) {
	example, err := os.ReadFile("example_service_test.go")
	require.NoError(t, err)
	flat := func(text string) string { return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(text, "") }
	for _, block := range codeOf(t, "go") {
		assert.Contains(t, flat(string(example)), flat(block))
	}
}

// aroundTheScript is a page that shows what the script of docs/service.md does. It finishes loading
// with its image, at the end of the test.
const aroundTheScript = `<!doctype html><title>A page</title><pre></pre><img src="/end"><script>
const log = text => document.querySelector("pre").textContent += text + "\n"
const address = "/socket", tab = "1"
const show = message => { log(message); fetch("/shown") }
const gap = missed => log("missed " + missed)
const clear = () => { log("begins anew"); fetch("/shown") }
const over = code => { log("over " + code); fetch("/over") }
SCRIPT
connect()
</script>`

// The page of docs/service.md reconnects to a server that was drained, without a gap. If the new
// server has forgotten everything, the page says so. After a kick it does not reconnect.
//
// Promise 83.
func TestThePageOfTheServiceComesBack(t *testing.T) {
	chromium := foreign["chromium"]
	if command(t, chromium.installed).Run() != nil {
		t.Skip("not installed")
	}
	admit := func(r *http.Request) (broadcastws.Ticket, error) {
		return broadcastws.Ticket{Chat: "c", Device: r.URL.Query().Get("tab")}, nil
	}
	s := start(t, func(o *options) { o.Admit = admit }, broadcast.WithHistory(10, 0))
	shown, over := make(chan struct{}, 10), make(chan struct{})
	serve := func(server http.Handler) {
		mux := http.NewServeMux()
		mux.Handle("/socket", server)
		mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(strings.Replace(aroundTheScript, "SCRIPT", codeOf(t, "js")[0], 1)))
		})
		mux.HandleFunc("/shown", func(http.ResponseWriter, *http.Request) { shown <- struct{}{} })
		mux.HandleFunc("/over", func(http.ResponseWriter, *http.Request) { close(over) })
		mux.HandleFunc("/end", func(http.ResponseWriter, *http.Request) { <-over })
		s.handle(mux)
	}
	await := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(2 * within):
			require.Fail(t, what)
		}
	}
	connected := func(b *broadcast.Broker[string]) {
		t.Helper()
		require.Eventually(t, func() bool { return b.Stats().Subscribers == 1 }, 2*within, time.Millisecond)
	}

	serve(s.server)
	run := command(t, append(chromium.run, s.http.URL+"/page"))
	var out strings.Builder
	run.Stdout = &out
	require.NoError(t, run.Start())
	connected(s.broker)
	s.publish("one")
	await("one", shown)

	require.NoError(t, s.server.Drain(context.Background()))
	s.publish("two")
	again, err := broadcastws.New(s.broker, options{Admit: admit})
	require.NoError(t, err)
	serve(again)
	await("two", shown)

	other, err := broadcast.New[string]()
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Close() })
	anew, err := broadcastws.New(other, options{Admit: admit})
	require.NoError(t, err)
	serve(anew)
	require.NoError(t, again.Drain(context.Background()))
	await("begins anew", shown)
	connected(other)
	require.NoError(t, other.Publish(context.Background(), "c", "three"))
	await("three", shown)

	require.True(t, other.Kick("c", "1", nil))
	await("over", over)
	require.NoError(t, run.Wait())
	require.NoError(t, anew.Drain(context.Background()))
	_, text, _ := strings.Cut(out.String(), "<pre>")
	text, _, _ = strings.Cut(text, "</pre>")
	assert.Equal(t, "one\ntwo\nbegins anew\nthree\nover 4003\n", html.UnescapeString(text))
}
