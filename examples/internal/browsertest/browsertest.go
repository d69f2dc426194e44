// Package browsertest has helpers for the tests of the examples' pages. Only tests import it.
package browsertest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

// Start starts a browser that runs until the test ends, or skips the test where none is installed.
func Start(t testing.TB) *browser.Browser {
	t.Helper()
	b, err := browser.Start()
	if errors.Is(err, browser.ErrMissing) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

// Tab opens a tab until the test ends, which fails with what goes wrong in it.
func Tab(t testing.TB, b *browser.Browser) *browser.Tab {
	t.Helper()
	tab := b.Tab(func(err error) { require.NoError(t, err) })
	t.Cleanup(tab.Close)
	return tab
}

// OnNewPage runs a script in each page that a tab opens, before the scripts of the page.
func OnNewPage(t testing.TB, tab *browser.Tab, script string) {
	t.Helper()
	params := page.AddScriptToEvaluateOnNewDocumentParams{Source: script}
	_, err := chromedp.Call(tab.Ctx, page.AddScriptToEvaluateOnNewDocument, params)
	require.NoError(t, err)
}

// Hurry makes timers run 60 times as fast in the pages that a tab opens, so that they give up on a
// connection after a second instead of a minute.
func Hurry(t testing.TB, tab *browser.Tab) {
	t.Helper()
	OnNewPage(t, tab, "const slow = setTimeout; window.setTimeout = (f, ms) => slow(f, ms / 60);")
}

// Recovers checks that a page notices when its network silently loses everything, and that it
// reconnects after that and after a restart of the server. start starts a server and returns its
// address and a function that stops it. The page at path shows the text connected in #state while
// it has a connection, and the server must send something at least every half second.
func Recovers(t *testing.T, path, connected string, start func() (addr string, stop func())) {
	tab := Tab(t, Start(t))
	Hurry(t, tab)
	proxy := exampletest.NewProxy(t)
	addr, stop := start()
	proxy.To(addr)
	tab.Do(chromedp.Navigate("http://" + proxy.Addr + path))
	tab.Sees("#state", connected)

	proxy.Swallow(true)
	tab.Sees("#state", "Reconnecting")
	proxy.Swallow(false)
	tab.Sees("#state", connected)

	stop()
	tab.Sees("#state", "Reconnecting")
	addr, _ = start()
	proxy.To(addr)
	tab.Sees("#state", connected)
}

// Type presses keys, on what has the focus.
func Type(tab *browser.Tab, keys string) { tab.Do(chromedp.KeyEvent(keys)) }

// TabTo moves the focus, by the key of that name alone, to an element.
func TabTo(t testing.TB, tab *browser.Tab, selector string) {
	t.Helper()
	for range 30 {
		Type(tab, "\t")
		if browser.Value[bool](tab, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
	}
	require.Fail(t, "cannot be reached by keyboard", selector)
}

// OwnPage checks that a service has a page that runs its own script and style only, and sets text
// as text.
func OwnPage(t testing.TB, s *exampletest.Service) {
	t.Helper()
	a := s.Do(http.MethodGet, "/", "")
	require.Equal(t, http.StatusOK, a.Status)
	policy := a.Header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
	_, nonce, _ := strings.Cut(policy, "script-src 'nonce-")
	nonce, _, _ = strings.Cut(nonce, "'")
	assert.Greater(t, len(nonce), 20)
	assert.Contains(t, policy, "script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"';")
	assert.Contains(t, a.Body, fmt.Sprintf("<script nonce=%q>", nonce))
	assert.Contains(t, a.Body, fmt.Sprintf("<style nonce=%q>", nonce))
	assert.NotContains(t, s.Do(http.MethodGet, "/", "").Body, nonce, "two answers have the same nonce")
	assert.Equal(t, 1, strings.Count(a.Body, "<script"))
	assert.Equal(t, 1, strings.Count(a.Body, "<style"))
	for _, markup := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style="} {
		assert.NotContains(t, a.Body, markup)
	}
}
