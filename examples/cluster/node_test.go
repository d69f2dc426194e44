package main

import (
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/messenger/server"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// startNodes runs nodes in this process, on an engine in memory, until the test ends.
func startNodes(t *testing.T) (all []*exampletest.Service) {
	t.Helper()
	engine := memengine.New(1, time.Millisecond, leastRecords)
	t.Cleanup(engine.Wait)
	s := settings{Config: server.DefaultConfig(), LoginKey: secret}
	s.Log, s.LeaveGrace = slog.New(slog.DiscardHandler), exampletest.Within
	var listeners [nodes]net.Listener
	for i := range listeners {
		listeners[i] = exampletest.Listen(t)
		s.Origins = append(s.Origins, "http://"+listeners[i].Addr().String())
	}
	for _, ln := range listeners {
		node, err := s.newNode(engine.Client())
		require.NoError(t, err)
		all = append(all, exampletest.Serve(t, node.Serve, ln))
	}
	return all
}

func TestPagesOfOtherNodesMayReadAnswersAndOthersMayNot(t *testing.T) {
	all := startNodes(t)
	s, ann := all[0], login(all[1], "ann")
	for origin, allowed := range map[string]bool{
		"http://" + all[1].Addr: true, "http://127.0.0.1:1": false, "https://evil.example": false, "null": false, "": false,
	} {
		from := []string{"Origin", origin, "Sec-Fetch-Site", "same-site"}
		a := s.Do(http.MethodOptions, "/chats/general/messages", "", append(from, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization,content-type,idempotency-key")...)
		assert.Equal(t, allowed, a.Header.Get("Access-Control-Allow-Headers") != "", origin)
		b := s.Do(http.MethodPost, "/chats/general/messages", `{"text":"hello"}`, append(from, "Content-Type", "application/json", "Authorization", "Bearer "+ann)...)
		assert.Equal(t, allowed, b.Status == http.StatusAccepted, origin)
		for _, header := range []http.Header{a.Header, b.Header} {
			assert.Equal(t, allowed, header.Get("Access-Control-Allow-Origin") == origin && origin != "", origin)
			assert.Equal(t, allowed, header.Get("Access-Control-Allow-Credentials") == "true", origin)
			assert.Contains(t, header.Get("Vary"), "Origin")
		}
	}
}

// A page moves when its node ends, and goes on where it was: nothing is shown twice, nothing is
// missing, and the others see nobody leave.
func TestAPageMovesWhenItsNodeEndsAndNobodyIsSeenToLeave(t *testing.T) {
	b := browsertest.Tab(t, browsertest.Start(t))
	all := startNodes(t)
	watcher := watch(t, all[2], login(all[2], "carl"), "")
	watcher.next()
	comeIn(b, all[0].Addr, "ann")
	b.Sees("#state", "Connected to node 1")
	b.Say("one")
	b.Sees("#log", "one")
	all[0].End()
	require.NoError(t, all[0].Done())
	require.Equal(t, http.StatusAccepted, post(all[1], login(all[1], "bob"), "two"))
	b.Until("/Connected to node [23]/.test(document.querySelector('#state').textContent)")
	b.Say("three")
	b.Sees("#log", "three")
	assert.Equal(t, []string{"one", "two", "three"}, b.Shown("#log .bubble, #log .note"))
	var told []string
	for range 4 {
		f := watcher.next()
		if f.Message != nil {
			f.Event = f.Message.Text
		}
		told = append(told, f.Event)
	}
	assert.Equal(t, []string{"joined", "one", "two", "three"}, told)
}
