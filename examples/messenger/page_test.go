package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

func TestThePageLoadsNothingElseAndAllowsOnlyItsOwnScriptAndStyle(t *testing.T) {
	browsertest.OwnPage(t, start(t, nil).Service)
}

type tab = browser.Tab

// logs wants exactly these messages and notes to be shown.
func logs(t *testing.T, b *tab, want ...string) {
	t.Helper()
	assert.Equal(t, want, b.Shown("#log .bubble, #log .note"))
}

func TestInABrowser(t *testing.T) {
	running := browsertest.Start(t)
	for _, tt := range []struct {
		name string
		test func(t *testing.T, b *tab)
	}{
		{"two tabs talk to each other", testTwoTabs},
		{"it shows where messages were missed", testMissed},
		{"what is not accepted is said and not lost", testNotAccepted},
		{"it reconnects when the server is back", testServerRestart},
		{"it gets what was sent while it was away, once", testAway},
		{"it shows each message once however often the connection breaks", testBreaks},
		{"it says how much is missing when it was away for too long", testAwayForTooLong},
		{"it shows who comes, who goes and who is there", testPresence},
		{"a tab that was replaced does not reconnect", testReplaced},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, browsertest.Tab(t, running)) })
	}
}

func testTwoTabs(t *testing.T, ann *tab) {
	s := start(t, nil)
	bob := ann.Another()
	ann.Visit(s.Addr, "1", "7")
	bob.Visit(s.Addr, "1", "8")
	ann.Sees("#people", "Device 8")
	ann.Sees("#people", "Device 7 (you)")

	ann.Say("hello, is somebody there?")
	bob.Sees("#log", "hello, is somebody there?")
	bob.Sees("#log .who", "Device 7")
	ann.Sees("#log .mine", "hello, is somebody there?")
	ann.Until("document.querySelector('#text').value === ''")

	bob.Do(chromedp.SendKeys(chromedp.CSS("#text"), "<img src=x onerror=alert(1)> & <b>bold</b>\n")) // Enter sends
	ann.Sees("#log", "<img src=x onerror=alert(1)> & <b>bold</b>")
	ann.Until("!document.querySelector('#log img, #log b')")

	bob.Do(chromedp.Click(chromedp.CSS("#leave")))
	bob.Sees("#state", "Not connected")
	ann.Until("!document.querySelector('#people').textContent.includes('Device 8')")
}

func testMissed(t *testing.T, b *tab) {
	s := start(t, func(c *Config) { c.Buffer, c.Patience = 1, 0 })
	b.Visit(s.Addr, "1", "7")
	msg, err := newMessage(post.Message{Text: "flood", By: 1, Chat: 1}, time.Now())
	require.NoError(t, err)
	for s.broker.Stats().Missed == 0 { // far faster than frames can be written
		require.NoError(t, s.broker.Publish(context.Background(), "1", msg))
	}
	s.MustSay("after the flood", 1, 1)
	b.Sees("#log", "after the flood")
	b.Sees("#log .missed", "missed here")
}

func testNotAccepted(t *testing.T, b *tab) {
	server := newServer(t, nil)
	server.identity = func(r *http.Request, _, claim httpjson.ID) (httpjson.ID, error) {
		if r.Method == http.MethodPost {
			return 0, errForbidden
		}
		return claim, nil
	}
	s := serve(t, server, exampletest.Listen(t))
	b.Visit(s.Addr, "1", "7")
	b.Say("may I?")
	b.Sees("#problem", "not yours")
	b.Until("document.querySelector('#text').value === 'may I?'")
}

func testServerRestart(t *testing.T, b *tab) {
	s := start(t, nil)
	b.Visit(s.Addr, "1", "7")
	s.MustSay("before the restart", 1, 1)
	s.MustSay("and one more", 1, 1)
	b.Sees("#log", "and one more")
	s.End()
	require.NoError(t, s.Done())
	b.Sees("#state", "Trying again")

	ln, err := net.Listen("tcp", s.Addr)
	require.NoError(t, err)
	server := newServer(t, nil)
	publish(t, server, "before the page was back")
	back := serve(t, server, ln)
	b.Sees("#state", "Connected")
	back.MustSay("after the restart", 1, 1)
	b.Sees("#log", "after the restart")
	logs(t, b, "before the restart", "and one more", "The server has started anew, or forgotten this chat. Messages may be missing here.",
		"before the page was back", "after the restart")
}

// publish posts to chat 1 of a server that is not serving yet.
func publish(t *testing.T, server *Server, text string) {
	t.Helper()
	msg, err := newMessage(post.Message{Text: text, By: 1, Chat: 1}, time.Now())
	require.NoError(t, err)
	require.NoError(t, server.broker.Publish(context.Background(), "1", msg))
}

// disconnected runs f while the page is cut off, as by a network that fails, and returns when it is back.
func disconnected(t *testing.T, s *service, away *atomic.Bool, f func()) {
	t.Helper()
	subscribers := s.broker.Stats().Subscribers
	away.Store(true)
	s.cutAll()
	f()
	away.Store(false)
	exampletest.Soon(t, "the pages are back", func() bool { return s.broker.Stats().Subscribers == subscribers })
}

// cutAll breaks the connections of all sockets.
func (s *service) cutAll() {
	s.T.Helper()
	exampletest.Soon(s.T, "the sockets are gone", func() bool {
		s.Server.conns.Cut() // those that are open; one that is about to be is so the next time
		return s.broker.Stats().Subscribers == 0
	})
}

// unreachable runs a service whose sockets are refused while away is true.
func unreachable(t *testing.T, away *atomic.Bool, change func(*Config)) *service {
	t.Helper()
	server := newServer(t, change)
	server.identity = func(r *http.Request, _, claim httpjson.ID) (httpjson.ID, error) {
		if r.Method == http.MethodGet && away.Load() {
			return 0, errForbidden
		}
		return claim, nil
	}
	return serve(t, server, exampletest.Listen(t))
}

func testAway(t *testing.T, ann *tab) {
	var away atomic.Bool
	s := unreachable(t, &away, func(c *Config) { c.LeaveGrace = within })
	bob := ann.Another()
	s.MustSay("zero", 1, 1)
	ann.Visit(s.Addr, "1", "7")
	bob.Visit(s.Addr, "1", "8")
	ann.Sees("#log", "Device 8 joined")
	s.MustSay("one", 1, 1)
	bob.Sees("#log", "one")

	disconnected(t, s, &away, func() {
		for _, text := range []string{"two", "three", "four"} {
			s.MustSay(text, 1, 1)
		}
	})
	disconnected(t, s, &away, func() {}) // nothing was sent meanwhile
	disconnected(t, s, &away, func() { s.MustSay("five", 1, 1) })
	s.MustSay("six", 1, 1)
	ann.Sees("#log", "six")
	bob.Sees("#log", "six")
	logs(t, ann, "zero", "Device 8 joined", "one", "two", "three", "four", "five", "six")
	logs(t, bob, "zero", "one", "two", "three", "four", "five", "six")
	ann.Sees("#people", "Device 8")
}

func testBreaks(t *testing.T, b *tab) {
	const messages = 400
	s := start(t, func(c *Config) { c.History = messages })
	b.Visit(s.Addr, "1", "7")
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		for i := range messages {
			assert.Equal(t, http.StatusAccepted, s.Say(fmt.Sprint(i), 1, 1).Status)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for range 3 {
		exampletest.Soon(t, "the page gets messages", func() bool {
			stats := s.broker.Stats()
			return stats.Subscribers == 1 && stats.Pending == 0
		})
		s.cutAll()
	}
	exampletest.Receive(t, "the end of the posts", posted)
	s.MustSay("last", 1, 1)
	b.Sees("#log", "last")
	var want []string
	for i := range messages {
		want = append(want, fmt.Sprint(i))
	}
	logs(t, b, append(want, "last")...)
}

func testAwayForTooLong(t *testing.T, b *tab) {
	var away atomic.Bool
	s := unreachable(t, &away, func(c *Config) { c.History = 2 })
	b.Visit(s.Addr, "1", "7")
	s.MustSay("one", 1, 1)
	b.Sees("#log", "one")
	disconnected(t, s, &away, func() {
		for _, text := range []string{"two", "three", "four", "five"} {
			s.MustSay(text, 1, 1)
		}
	})
	b.Sees("#log", "five")
	logs(t, b, "one", "2 messages were missed here: this page was disconnected for too long", "four", "five")
}

func testPresence(t *testing.T, ann *tab) {
	s := start(t, nil)
	ann.Visit(s.Addr, "1", "7")
	ann.Sees("#people", "Device 7 (you)")
	bob := ann.Another()
	bob.Visit(s.Addr, "1", "10")
	ann.Sees("#log", "Device 10 joined")
	s.watch(1, 9)
	bob.Sees("#people", "Device 7Device 9Device 10 (you)")
	ann.Sees("#people", "Device 7 (you)Device 9Device 10")
	bob.Say("hello")
	ann.Sees("#log", "hello")

	bob.Do(chromedp.Click(chromedp.CSS("#leave")))
	ann.Sees("#log", "Device 10 left")
	bob.Visit(s.Addr, "1", "11") // navigates: the page begins anew, with what was said
	bob.Sees("#log", "hello")
	ann.Sees("#log", "Device 11 joined")
	logs(t, ann, "Device 10 joined", "Device 9 joined", "hello", "Device 10 left", "Device 11 joined")
	assert.Equal(t, "Device 7 (you)Device 9Device 11", browser.Value[string](ann, "document.querySelector('#people').textContent"))
	assert.Zero(t, browser.Value[int](ann, "performance.getEntriesByType('resource').filter(e => e.name.includes('/devices')).length"), "it asks again and again")
}

func testReplaced(t *testing.T, first *tab) {
	s := start(t, nil)
	// Keeps the timers that are pending in window.timers: a page that is about to reconnect has one.
	_, err := chromedp.Call(first.Ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.timers = new Set();
		window.begun = 0;
		const set = window.setTimeout, clear = window.clearTimeout;
		window.setTimeout = (f, d) => {
			const id = set(() => { timers.delete(id); f(); }, d);
			timers.add(id);
			begun++;
			return id;
		};
		window.clearTimeout = id => { timers.delete(id); clear(id); };
	`})
	require.NoError(t, err)
	first.Visit(s.Addr, "1", "7")
	first.Until("begun > 0") // that of showing who is there
	second := first.Another()
	second.Visit(s.Addr, "1", "7")

	first.Until("document.body.dataset.state === 'replaced' && timers.size === 0")
	first.Sees("#state", "opened elsewhere")
	assert.Equal(t, uint64(1), s.broker.Stats().Replaced)

	first.Do(chromedp.Click(chromedp.CSS("#join"))) // the person may take it back
	first.Sees("#state", "Connected")
	second.Sees("#state", "opened elsewhere")
}
