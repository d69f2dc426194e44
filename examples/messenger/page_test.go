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
		{"it says how many messages were sent while it was away", testAway},
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
	back := serve(t, newServer(t, nil), ln)
	b.sees("#state", "Connected")
	back.mustSay("after the restart", 1, 1)
	b.sees("#log", "after the restart")
	b.sees("#log .missed", "started anew")
	b.sees("#log", "before the restart")
}

func testAway(t *testing.T, b *tab) {
	var away atomic.Bool
	server := newServer(t, nil)
	server.identity = func(r *http.Request, _, claim id) (id, error) {
		if r.Method == http.MethodGet && away.Load() {
			return 0, errForbidden
		}
		return claim, nil
	}
	s := serve(t, server, listen(t))
	b.join(s, "1", "7")
	s.mustSay("one", 1, 1)
	b.sees("#log", "one")

	away.Store(true)
	s.cut() // as a network does that fails
	soon(t, "the socket is gone", func() bool { return s.broker.Stats().Subscribers == 0 })
	s.mustSay("two", 1, 1)
	s.mustSay("three", 1, 1)
	away.Store(false)
	soon(t, "the page is back", func() bool { return s.broker.Stats().Subscribers == 1 })
	s.mustSay("four", 1, 1)
	b.sees("#log", "four")
	b.sees("#log .missed", "2 messages were sent while this page was disconnected")
}

func testReplaced(t *testing.T, first *tab) {
	s := start(t, nil)
	// Keeps the timers that are pending in window.timers: a page that is about to reconnect has one.
	_, err := chromedp.Call(first.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.timers = new Set();
		const set = window.setTimeout, clear = window.clearTimeout;
		window.setTimeout = (f, d) => {
			const id = set(() => { timers.delete(id); f(); }, d);
			timers.add(id);
			return id;
		};
		window.clearTimeout = id => { timers.delete(id); clear(id); };
	`})
	require.NoError(t, err)
	first.join(s, "1", "7")
	first.until("timers.size > 0") // that of the list of who is there
	second := newTab(t, first.ctx)
	second.join(s, "1", "7")

	first.until("document.body.dataset.state === 'replaced' && timers.size === 0")
	first.sees("#state", "opened elsewhere")
	assert.Equal(t, uint64(1), s.broker.Stats().Replaced)

	first.do(chromedp.Click(chromedp.CSS("#join"))) // the person may take it back
	first.sees("#state", "Connected")
	second.sees("#state", "opened elsewhere")
}
