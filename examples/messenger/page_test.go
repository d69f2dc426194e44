package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestThePageLoadsNothingElseAndAllowsOnlyItsOwnScriptAndStyle(t *testing.T) {
	s := start(t, nil)
	a := s.do(http.MethodGet, "/", "")
	require.Equal(t, http.StatusOK, a.status)
	policy := a.header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
	assert.Equal(t, 1, strings.Count(a.body, "<script"))
	assert.Equal(t, 1, strings.Count(a.body, "<style"))
	for _, markup := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style="} {
		assert.NotContains(t, a.body, markup)
	}
}

// tab is one tab of a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// openBrowser starts a browser with one empty tab, or skips the test where none is installed.
func openBrowser(t *testing.T) *tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium is installed")
	}
	options := append(
		chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // tests run as root in containers, where there is no sandbox
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	return newTab(t, ctx)
}

// newTab opens a tab: in the browser of parent, if there is one.
func newTab(t *testing.T, parent context.Context) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx)) // starts the browser, which must not end with the time limit of an action
	return &tab{t: t, ctx: ctx}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// sees waits until the text of the element contains words.
func (b *tab) sees(selector, words string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelector(%s)?.textContent.includes(%s)", quote(selector), quote(words)))
}

// logs wants exactly these messages and notes to be shown.
func (b *tab) logs(want ...string) {
	b.t.Helper()
	assert.Equal(b.t, want, value[[]string](b, "[...document.querySelectorAll('#log .bubble, #log .note')].map(e => e.textContent)"))
}

// until waits until an expression is true.
func (b *tab) until(expression string) {
	b.t.Helper()
	soon(b.t, expression, func() bool { return value[bool](b, "!!("+expression+")") })
}

// value returns what an expression is in the page.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

// join opens the page in the tab and joins a chat by hand.
func (b *tab) join(s *service, chat, device string) {
	b.t.Helper()
	b.do(
		chromedp.Navigate("http://"+s.addr+"/"),
		chromedp.SetValue(chromedp.CSS("#chat"), chat),
		chromedp.SetValue(chromedp.CSS("#device"), device),
		chromedp.Click(chromedp.CSS("#join")),
	)
	b.sees("#state", "Connected")
}

// say types a message and clicks on Send.
func (b *tab) say(text string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS("#text"), text), chromedp.Click(chromedp.CSS("#send")))
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestInABrowser(t *testing.T) {
	browser := openBrowser(t)
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
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newTab(t, browser.ctx)) })
	}
}

func testTwoTabs(t *testing.T, ann *tab) {
	s := start(t, nil)
	bob := newTab(t, ann.ctx)
	ann.join(s, "1", "7")
	bob.join(s, "1", "8")
	ann.sees("#people", "Device 8")
	ann.sees("#people", "Device 7 (you)")

	ann.say("hello, is somebody there?")
	bob.sees("#log", "hello, is somebody there?")
	bob.sees("#log .who", "Device 7")
	ann.sees("#log .mine", "hello, is somebody there?")
	ann.until("document.querySelector('#text').value === ''")

	bob.do(chromedp.SendKeys(chromedp.CSS("#text"), "<img src=x onerror=alert(1)> & <b>bold</b>\n")) // Enter sends
	ann.sees("#log", "<img src=x onerror=alert(1)> & <b>bold</b>")
	ann.until("!document.querySelector('#log img, #log b')")

	bob.do(chromedp.Click(chromedp.CSS("#leave")))
	bob.sees("#state", "Not connected")
	ann.until("!document.querySelector('#people').textContent.includes('Device 8')")
}

func testMissed(t *testing.T, b *tab) {
	s := start(t, func(c *Config) { c.Buffer, c.Patience = 1, 0 })
	b.join(s, "1", "7")
	msg, err := newMessage(post{Text: "flood", By: 1, Chat: 1}, time.Now())
	require.NoError(t, err)
	for s.broker.Stats().Missed == 0 { // far faster than frames can be written
		require.NoError(t, s.broker.Publish(context.Background(), "1", msg))
	}
	s.mustSay("after the flood", 1, 1)
	b.sees("#log", "after the flood")
	b.sees("#log .missed", "missed here")
}

func testNotAccepted(t *testing.T, b *tab) {
	server := newServer(t, nil)
	server.identity = func(r *http.Request, _, claim id) (id, error) {
		if r.Method == http.MethodPost {
			return 0, errForbidden
		}
		return claim, nil
	}
	s := serve(t, server, listen(t))
	b.join(s, "1", "7")
	b.say("may I?")
	b.sees("#problem", "not yours")
	b.until("document.querySelector('#text').value === 'may I?'")
}

func testServerRestart(t *testing.T, b *tab) {
	s := start(t, nil)
	b.join(s, "1", "7")
	s.mustSay("before the restart", 1, 1)
	s.mustSay("and one more", 1, 1)
	b.sees("#log", "and one more")
	s.end()
	require.NoError(t, s.done())
	b.sees("#state", "Trying again")

	ln, err := net.Listen("tcp", s.addr)
	require.NoError(t, err)
	server := newServer(t, nil)
	publish(t, server, "before the page was back")
	back := serve(t, server, ln)
	b.sees("#state", "Connected")
	back.mustSay("after the restart", 1, 1)
	b.sees("#log", "after the restart")
	b.logs("before the restart", "and one more", "The server has started anew, or forgotten this chat. Messages may be missing here.",
		"before the page was back", "after the restart")
}

// publish posts to chat 1 of a server that is not serving yet.
func publish(t *testing.T, server *Server, text string) {
	t.Helper()
	msg, err := newMessage(post{Text: text, By: 1, Chat: 1}, time.Now())
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
	soon(t, "the pages are back", func() bool { return s.broker.Stats().Subscribers == subscribers })
}

// cutAll breaks the connections of all sockets.
func (s *service) cutAll() {
	s.t.Helper()
	soon(s.t, "the sockets are gone", func() bool {
		s.cut() // those that are open; one that is about to be is so the next time
		return s.broker.Stats().Subscribers == 0
	})
}

// unreachable runs a service whose sockets are refused while away is true.
func unreachable(t *testing.T, away *atomic.Bool, change func(*Config)) *service {
	t.Helper()
	server := newServer(t, change)
	server.identity = func(r *http.Request, _, claim id) (id, error) {
		if r.Method == http.MethodGet && away.Load() {
			return 0, errForbidden
		}
		return claim, nil
	}
	return serve(t, server, listen(t))
}

func testAway(t *testing.T, ann *tab) {
	var away atomic.Bool
	s := unreachable(t, &away, func(c *Config) { c.LeaveGrace = within })
	bob := newTab(t, ann.ctx)
	s.mustSay("zero", 1, 1)
	ann.join(s, "1", "7")
	bob.join(s, "1", "8")
	ann.sees("#log", "Device 8 joined")
	s.mustSay("one", 1, 1)
	bob.sees("#log", "one")

	disconnected(t, s, &away, func() {
		for _, text := range []string{"two", "three", "four"} {
			s.mustSay(text, 1, 1)
		}
	})
	disconnected(t, s, &away, func() {}) // nothing was sent meanwhile
	disconnected(t, s, &away, func() { s.mustSay("five", 1, 1) })
	s.mustSay("six", 1, 1)
	ann.sees("#log", "six")
	bob.sees("#log", "six")
	ann.logs("zero", "Device 8 joined", "one", "two", "three", "four", "five", "six")
	bob.logs("zero", "one", "two", "three", "four", "five", "six")
	ann.sees("#people", "Device 8")
}

func testBreaks(t *testing.T, b *tab) {
	const messages = 400
	s := start(t, func(c *Config) { c.History = messages })
	b.join(s, "1", "7")
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		for i := range messages {
			assert.Equal(t, http.StatusAccepted, s.say(fmt.Sprint(i), 1, 1).status)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	for range 3 {
		soon(t, "the page gets messages", func() bool {
			stats := s.broker.Stats()
			return stats.Subscribers == 1 && stats.Pending == 0
		})
		s.cutAll()
	}
	<-posted
	s.mustSay("last", 1, 1)
	b.sees("#log", "last")
	var want []string
	for i := range messages {
		want = append(want, fmt.Sprint(i))
	}
	b.logs(append(want, "last")...)
}

func testAwayForTooLong(t *testing.T, b *tab) {
	var away atomic.Bool
	s := unreachable(t, &away, func(c *Config) { c.History = 2 })
	b.join(s, "1", "7")
	s.mustSay("one", 1, 1)
	b.sees("#log", "one")
	disconnected(t, s, &away, func() {
		for _, text := range []string{"two", "three", "four", "five"} {
			s.mustSay(text, 1, 1)
		}
	})
	b.sees("#log", "five")
	b.logs("one", "2 messages were missed here: this page was disconnected for too long", "four", "five")
}

func testPresence(t *testing.T, ann *tab) {
	s := start(t, nil)
	ann.join(s, "1", "7")
	ann.sees("#people", "Device 7 (you)")
	bob := newTab(t, ann.ctx)
	bob.join(s, "1", "10")
	ann.sees("#log", "Device 10 joined")
	s.watch(1, 9)
	bob.sees("#people", "Device 7Device 9Device 10 (you)")
	ann.sees("#people", "Device 7 (you)Device 9Device 10")
	bob.say("hello")
	ann.sees("#log", "hello")

	bob.do(chromedp.Click(chromedp.CSS("#leave")))
	ann.sees("#log", "Device 10 left")
	bob.join(s, "1", "11") // navigates: the page begins anew, with what was said
	bob.sees("#log", "hello")
	ann.sees("#log", "Device 11 joined")
	ann.logs("Device 10 joined", "Device 9 joined", "hello", "Device 10 left", "Device 11 joined")
	assert.Equal(t, "Device 7 (you)Device 9Device 11", value[string](ann, "document.querySelector('#people').textContent"))
	assert.Zero(t, value[int](ann, "performance.getEntriesByType('resource').filter(e => e.name.includes('/devices')).length"), "it asks again and again")
}

func testReplaced(t *testing.T, first *tab) {
	s := start(t, nil)
	// Keeps the timers that are pending in window.timers: a page that is about to reconnect has one.
	_, err := chromedp.Call(first.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
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
	first.join(s, "1", "7")
	first.until("begun > 0") // that of showing who is there
	second := newTab(t, first.ctx)
	second.join(s, "1", "7")

	first.until("document.body.dataset.state === 'replaced' && timers.size === 0")
	first.sees("#state", "opened elsewhere")
	assert.Equal(t, uint64(1), s.broker.Stats().Replaced)

	first.do(chromedp.Click(chromedp.CSS("#join"))) // the person may take it back
	first.sees("#state", "Connected")
	second.sees("#state", "opened elsewhere")
}
