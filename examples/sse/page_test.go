package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestThePageAllowsOnlyItsOwnScriptAndStyleAndSetsTextAsText(t *testing.T) {
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

// fragile is a listener whose connections can all be cut, as by a network that fails.
type fragile struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (f *fragile) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.conns = append(f.conns, conn)
	}
	return conn, err
}

func (f *fragile) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		_ = conn.Close()
	}
	f.conns = nil
}

// tab is one tab of a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// openBrowser starts a browser, or skips the test where none is installed.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(
			chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path),
			chromedp.NoSandbox, // tests run as root in containers, where there is no sandbox
			chromedp.DisableGPU,
			chromedp.Flag("disable-quic", true),
			chromedp.Flag("disable-component-update", true),
		)...)
		t.Cleanup(cancel)
		return newTab(t, ctx).ctx
	}
	t.Skip("no chromium is installed")
	return nil
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

// value returns what an expression is in the page.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

// until waits until an expression is true in the page.
func (b *tab) until(expression string) {
	b.t.Helper()
	soon(b.t, expression, func() bool { return value[bool](b, "!!("+expression+")") })
}

// sees waits until the text of an element contains words.
func (b *tab) sees(selector, words string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelector(%s)?.textContent.includes(%s)", quote(selector), quote(words)))
}

// sawExactly waits until the page shows as many messages and checks that they are these.
func (b *tab) sawExactly(texts ...string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelectorAll('#log .text').length >= %d", len(texts)))
	assert.Equal(b.t, texts, value[[]string](b, "[...document.querySelectorAll('#log .text')].map(e => e.textContent)"))
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// visit opens the page and watches a chat by hand.
func (b *tab) visit(s *service, chat, device string) {
	b.t.Helper()
	b.do(
		chromedp.Navigate("http://"+s.addr+"/"),
		chromedp.SetValue(chromedp.CSS("#chat"), chat),
		chromedp.SetValue(chromedp.CSS("#device"), device),
		chromedp.Click(chromedp.CSS("#join")),
	)
	b.sees("#state", "Connected")
}

func TestInABrowser(t *testing.T) {
	browser := openBrowser(t)
	for _, tt := range []struct {
		name string
		test func(t *testing.T, b *tab)
	}{
		{"two tabs talk to each other", testTwoTabs},
		{"its own EventSource resumes by itself and nothing is lost", testResume},
		{"an EventSource without any handlers gives up when it is replaced", testBareEventSource},
		{"a tab that was replaced stays so until it is taken back", testReplaced},
		{"a gap is shown and not silent", testGap},
		{"it comes back when the server does", testRestart},
		{"what is not accepted is said and not lost", testNotAccepted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, newTab(t, browser))
		})
	}
}

func testTwoTabs(t *testing.T, ann *tab) {
	s := start(t, nil)
	s.mustSay(1, "said before")
	ann.visit(s, "1", "7")
	bob := newTab(t, ann.ctx)
	bob.visit(s, "1", "8")
	bob.sees("#log .who", "7")
	ann.do(chromedp.SendKeys(chromedp.CSS("#text"), "<img src=x onerror=alert(1)> & <b>bold</b>"), chromedp.Click(chromedp.CSS("#send")))
	ann.until("document.querySelector('#text').value === ''")
	s.mustSay(1, "one\r\nmore\rline\n")
	for _, b := range []*tab{ann, bob} {
		b.sawExactly("said before", "<img src=x onerror=alert(1)> & <b>bold</b>", "one\nmore\nline\n")
		b.until("!document.querySelector('#log img, #log b')")
	}
}

// interruptible is a server whose network fails on demand, and on which streams are let in only while it is up.
type interruptible struct {
	*service
	ln   *fragile
	gate chan struct{} // one token while streams are let in
}

func startInterruptible(t *testing.T, change func(*Config)) *interruptible {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	i := &interruptible{ln: &fragile{Listener: ln}, gate: make(chan struct{}, 1)}
	i.up()
	i.service = startOn(t, i.ln, func(c *Config) {
		c.Retry = 50 * time.Millisecond
		c.Authorize = func(r *http.Request, _, _ id) error {
			if r.Method == http.MethodGet {
				select {
				case <-i.gate:
					i.gate <- struct{}{}
				case <-r.Context().Done():
					return r.Context().Err()
				}
			}
			return nil
		}
		if change != nil {
			change(c)
		}
	})
	return i
}

func (i *interruptible) up() { i.gate <- struct{}{} }

// down cuts all connections. Posts go through, and streams wait until it is up again.
func (i *interruptible) down() {
	i.t.Helper()
	<-i.gate
	i.ln.cut()
	soon(i.t, "all streams have ended", func() bool { return i.broker.Stats().Subscribers == 0 })
}

// fromNewConnection posts texts on a connection that was not cut.
func (i *interruptible) fromNewConnection(texts ...string) {
	i.t.Helper()
	i.http.CloseIdleConnections()
	i.mustSay(1, texts...)
}

func testResume(t *testing.T, b *tab) {
	s := startInterruptible(t, nil)
	b.visit(s.service, "1", "7")
	value[bool](b, "window.made = 0, window.EventSource = new Proxy(EventSource, {construct(f, a) { made++; return new f(...a); }}), true")
	all := texts(0, 20)
	s.mustSay(1, all[:2]...)
	b.sawExactly(all[:2]...)
	for from := 2; from < 20; from += 6 {
		s.down()
		b.sees("#state", "Reconnecting")
		s.fromNewConnection(all[from : from+4]...)
		s.up()
		b.sees("#state", "Connected")
		s.mustSay(1, all[from+4:from+6]...)
		b.sawExactly(all[:from+6]...)
	}
	b.until("!document.querySelector('#log .note')")
	assert.Zero(t, value[int](b, "made"), "it was the page that reconnected, not the browser")
}

func testBareEventSource(t *testing.T, b *tab) {
	s := start(t, func(c *Config) { c.Retry = 50 * time.Millisecond })
	b.do(chromedp.Navigate("http://" + s.addr + "/"))
	value[bool](b, "window.bare = new EventSource('/events?chat=1&device=7'), true")
	b.until("bare.readyState === EventSource.OPEN")
	c := s.watch(1, 7)
	b.until("bare.readyState === EventSource.CLOSED")
	s.mustSay(1, "still mine")
	c.mustGet("still mine")
	assert.Equal(t, uint64(1), s.broker.Stats().Replaced)
}

func testReplaced(t *testing.T, first *tab) {
	s := start(t, nil)
	first.visit(s, "1", "7")
	s.mustSay(1, "one")
	first.sees("#log", "one")
	second := newTab(t, first.ctx)
	second.visit(s, "1", "7")
	first.sees("#state", "opened elsewhere")
	s.mustSay(1, "two")
	second.sawExactly("one", "two")

	first.do(chromedp.Click(chromedp.CSS("#join"))) // the person may take it back
	first.sees("#state", "Connected")
	second.sees("#state", "opened elsewhere")
	first.sawExactly("one", "two")
	assert.Equal(t, uint64(2), s.broker.Stats().Replaced)
}

func testGap(t *testing.T, b *tab) {
	s := startInterruptible(t, func(c *Config) { c.History = 5 })
	b.visit(s.service, "1", "7")
	s.mustSay(1, "first")
	b.sees("#log", "first")
	s.down()
	s.fromNewConnection(texts(0, 12)...)
	s.up()
	b.sees("#log .note", "7 missed here")
	b.sawExactly(append([]string{"first"}, texts(7, 5)...)...)
}

func testRestart(t *testing.T, b *tab) {
	s := start(t, func(c *Config) { c.Retry = 50 * time.Millisecond })
	b.visit(s, "1", "7")
	s.mustSay(1, "before")
	b.sees("#log", "before")
	s.end()
	require.NoError(t, s.done())
	b.until("document.body.dataset.state === 'waiting'")

	ln, err := net.Listen("tcp", s.addr)
	require.NoError(t, err)
	back := startOn(t, ln, nil)
	back.mustSay(1, "after")
	b.sees("#state", "Connected")
	b.sawExactly("before", "after")
	b.sees("#log .note", "Messages may be missing")
}

func testNotAccepted(t *testing.T, b *tab) {
	var closed atomic.Bool
	s := start(t, func(c *Config) {
		c.Authorize = func(*http.Request, id, id) error {
			if closed.Load() {
				return errors.New("closed")
			}
			return nil
		}
	})
	b.visit(s, "1", "7")
	closed.Store(true)
	b.do(chromedp.SendKeys(chromedp.CSS("#text"), "may I?"), chromedp.Click(chromedp.CSS("#send")))
	b.sees("#problem", "not allowed")
	b.until("document.querySelector('#text').value === 'may I?'")
}
