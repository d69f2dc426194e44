package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

func TestThePageLoadsNothingElseAndAllowsOnlyItsOwnScriptAndStyle(t *testing.T) {
	browsertest.OwnPage(t, start(t, nil).Service)
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

type tab = browser.Tab

// sawExactly waits until the page shows as many messages and checks that they are these.
func sawExactly(t *testing.T, b *tab, texts ...string) {
	t.Helper()
	b.Until(fmt.Sprintf("document.querySelectorAll('#log .text').length >= %d", len(texts)))
	assert.Equal(t, texts, b.Shown("#log .text"))
}

func TestInABrowser(t *testing.T) {
	running := browsertest.Start(t)
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
			tt.test(t, browsertest.Tab(t, running))
		})
	}
}

func testTwoTabs(t *testing.T, ann *tab) {
	s := start(t, nil)
	s.mustSay(1, "said before")
	ann.Visit(s.Addr, "1", "7")
	bob := ann.Another()
	bob.Visit(s.Addr, "1", "8")
	bob.Sees("#log .who", "7")
	ann.Say("<img src=x onerror=alert(1)> & <b>bold</b>")
	ann.Until("document.querySelector('#text').value === ''")
	s.mustSay(1, "one\r\nmore\rline\n")
	for _, b := range []*tab{ann, bob} {
		sawExactly(t, b, "said before", "<img src=x onerror=alert(1)> & <b>bold</b>", "one\nmore\nline\n")
		b.Until("!document.querySelector('#log img, #log b')")
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
	i := &interruptible{ln: &fragile{Listener: exampletest.Listen(t)}, gate: make(chan struct{}, 1)}
	i.up()
	i.service = startOn(t, i.ln, func(c *Config) {
		c.Retry = 50 * time.Millisecond
		c.Authorize = func(r *http.Request, _, _ httpjson.ID) error {
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
	i.T.Helper()
	<-i.gate
	i.ln.cut()
	exampletest.Soon(i.T, "all streams have ended", func() bool { return i.broker.Stats().Subscribers == 0 })
}

// fromNewConnection posts texts on a connection that was not cut.
func (i *interruptible) fromNewConnection(texts ...string) {
	i.T.Helper()
	i.HTTP.CloseIdleConnections()
	i.mustSay(1, texts...)
}

func testResume(t *testing.T, b *tab) {
	s := startInterruptible(t, nil)
	b.Visit(s.Addr, "1", "7")
	browser.Value[bool](b, "window.made = 0, window.EventSource = new Proxy(EventSource, {construct(f, a) { made++; return new f(...a); }}), true")
	all := texts(0, 20)
	s.mustSay(1, all[:2]...)
	sawExactly(t, b, all[:2]...)
	for from := 2; from < 20; from += 6 {
		s.down()
		b.Sees("#state", "Reconnecting")
		s.fromNewConnection(all[from : from+4]...)
		s.up()
		b.Sees("#state", "Connected")
		s.mustSay(1, all[from+4:from+6]...)
		sawExactly(t, b, all[:from+6]...)
	}
	b.Until("!document.querySelector('#log .note')")
	assert.Zero(t, browser.Value[int](b, "made"), "it was the page that reconnected, not the browser")
}

func testBareEventSource(t *testing.T, b *tab) {
	s := start(t, func(c *Config) { c.Retry = 50 * time.Millisecond })
	b.Do(chromedp.Navigate("http://" + s.Addr + "/"))
	browser.Value[bool](b, "window.bare = new EventSource('/events?chat=1&device=7'), true")
	b.Until("bare.readyState === EventSource.OPEN")
	c := s.watch(1, 7)
	b.Until("bare.readyState === EventSource.CLOSED")
	s.mustSay(1, "still mine")
	c.mustGet("still mine")
	assert.Equal(t, uint64(1), s.broker.Stats().Replaced)
}

func testReplaced(t *testing.T, first *tab) {
	s := start(t, nil)
	first.Visit(s.Addr, "1", "7")
	s.mustSay(1, "one")
	first.Sees("#log", "one")
	second := first.Another()
	second.Visit(s.Addr, "1", "7")
	first.Sees("#state", "opened elsewhere")
	s.mustSay(1, "two")
	sawExactly(t, second, "one", "two")

	first.Do(chromedp.Click(chromedp.CSS("#join"))) // the person may take it back
	first.Sees("#state", "Connected")
	second.Sees("#state", "opened elsewhere")
	sawExactly(t, first, "one", "two")
	assert.Equal(t, uint64(2), s.broker.Stats().Replaced)
}

func testGap(t *testing.T, b *tab) {
	s := startInterruptible(t, func(c *Config) { c.History = 5 })
	b.Visit(s.Addr, "1", "7")
	s.mustSay(1, "first")
	b.Sees("#log", "first")
	s.down()
	s.fromNewConnection(texts(0, 12)...)
	s.up()
	b.Sees("#log .note", "7 missed here")
	sawExactly(t, b, append([]string{"first"}, texts(7, 5)...)...)
}

func testRestart(t *testing.T, b *tab) {
	s := start(t, func(c *Config) { c.Retry = 50 * time.Millisecond })
	b.Visit(s.Addr, "1", "7")
	s.mustSay(1, "before")
	b.Sees("#log", "before")
	s.End()
	require.NoError(t, s.Done())
	b.Until("document.body.dataset.state === 'waiting'")

	ln, err := net.Listen("tcp", s.Addr)
	require.NoError(t, err)
	back := startOn(t, ln, nil)
	back.mustSay(1, "after")
	b.Sees("#state", "Connected")
	sawExactly(t, b, "before", "after")
	b.Sees("#log .note", "Messages may be missing")
}

func testNotAccepted(t *testing.T, b *tab) {
	var closed atomic.Bool
	s := start(t, func(c *Config) {
		c.Authorize = func(*http.Request, httpjson.ID, httpjson.ID) error {
			if closed.Load() {
				return errors.New("closed")
			}
			return nil
		}
	})
	b.Visit(s.Addr, "1", "7")
	closed.Store(true)
	b.Say("may I?")
	b.Sees("#problem", "not allowed")
	b.Until("document.querySelector('#text').value === 'may I?'")
}
