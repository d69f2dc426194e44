// Package browser drives a real browser. Only the tests of the pages and the command that takes the
// screenshot of messenger import it.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/chromedp/chromedp"
)

// ErrMissing is returned by Start where no browser is installed.
var ErrMissing = errors.New("no chromium is installed")

// within is how long anything may take that a tab does, and poll how often one that waits looks.
const (
	within = 30 * time.Second
	poll   = 5 * time.Millisecond
)

// Browser is one that runs without a screen. All methods may be called from any goroutine.
type Browser struct {
	ctx   context.Context // of its first tab, which nobody uses
	close func()
}

// Start starts a browser, which [Browser.Close] ends.
func Start() (*Browser, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), append(
		chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // tests run as root in containers, where there is no sandbox
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)...)
	first, endFirst := chromedp.NewContext(ctx)
	b := &Browser{first, func() { endFirst(); end() }}
	if err := chromedp.Do(first); err != nil { // starts it; the context of an action would end it with the action
		b.Close()
		return nil, err
	}
	return b, nil
}

func find() (path string, err error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrMissing
}

// Close ends the browser with all its tabs, and returns when it has ended.
func (b *Browser) Close() { b.close() }

// Tab is one tab. What goes wrong in it is given to the function that fails, which must not return,
// as FailNow of a test. A Tab is not safe for concurrent use; others may be used meanwhile.
type Tab struct {
	Ctx     context.Context // for chromedp; actions under it have no deadline
	browser *Browser
	fail    func(error)
	close   func()
}

// Tab opens an empty tab, which [Tab.Close] closes.
func (b *Browser) Tab(fail func(error)) *Tab {
	ctx, end := chromedp.NewContext(b.ctx)
	t := &Tab{ctx, b, fail, end}
	if err := chromedp.Do(ctx); err != nil {
		end()
		fail(err)
	}
	return t
}

// Another opens another empty tab in the same browser, which closes with this one.
func (t *Tab) Another() *Tab {
	other := t.browser.Tab(t.fail)
	end := t.close
	t.close = func() { other.Close(); end() }
	return other
}

// Close closes the tab.
func (t *Tab) Close() { t.close() }

// Do takes steps, one after the other.
func (t *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	ctx, cancel := context.WithTimeout(t.Ctx, within)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.fail(err)
	}
}

// Value returns what an expression is in the page.
func Value[T any](t *Tab, expression string) T {
	return run(t, expression, chromedp.Evaluate[T](expression))
}

// Screenshot returns what the tab shows, as PNG.
func (t *Tab) Screenshot() []byte { return run(t, "screenshot", chromedp.CaptureScreenshot()) }

func run[T any](t *Tab, what string, action chromedp.Action[T]) T {
	ctx, cancel := context.WithTimeout(t.Ctx, within)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		t.fail(fmt.Errorf("%s: %w", what, err))
	}
	return v
}

// Until returns when an expression is true. When that takes too long it fails with the text of the
// page.
func (t *Tab) Until(expression string) {
	for deadline := time.Now().Add(within); !Value[bool](t, "!!("+expression+")"); time.Sleep(poll) {
		if time.Now().After(deadline) {
			t.fail(fmt.Errorf("it is not true that %s; the page:\n%s", expression, Value[string](t, "document.body.innerText")))
		}
	}
}

// Sees returns when the text of an element contains words; it fails as Until does.
func (t *Tab) Sees(selector, words string) {
	t.Until(fmt.Sprintf("document.querySelector(%s)?.textContent.includes(%s)", quote(selector), quote(words)))
}

// Say types a message, as the pages of the examples take it, and sends it.
func (t *Tab) Say(text string) {
	t.Do(chromedp.SendKeys(chromedp.CSS("#text"), text), chromedp.Click(chromedp.CSS("#send")))
}

// Shown returns the texts of all elements that a selector matches, in the order of the page.
func (t *Tab) Shown(selector string) []string {
	return Value[[]string](t, fmt.Sprintf("[...document.querySelectorAll(%s)].map(e => e.textContent)", quote(selector)))
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
