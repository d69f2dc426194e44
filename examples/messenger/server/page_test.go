package server

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

func TestThePageLoadsNothingElseAndAllowsOnlyItsOwnScriptAndStyle(t *testing.T) {
	browsertest.OwnPage(t, start(t, nil).Service)
}

// tab is a page of the messenger.
type tab struct{ *browser.Tab }

// comeIn opens the page and comes in under a name.
func (b tab) comeIn(addr, name string) {
	b.Do(chromedp.Navigate("http://" + addr + "/?chat=general"))
	b.Until("!document.querySelector('#welcome').hidden && !document.querySelector('#name-label').hidden")
	b.Do(chromedp.SetValue(chromedp.CSS("#name"), name), chromedp.Click(chromedp.CSS("#login button")))
	b.Sees("#state", "Connected")
}

func (b tab) another() tab { return tab{b.Another()} }

// logs wants exactly these messages and notes to be shown.
func (b tab) logs(t *testing.T, want ...string) {
	t.Helper()
	assert.Equal(t, want, b.Shown("#log .bubble, #log .note"))
}

func TestInABrowser(t *testing.T) {
	running := browsertest.Start(t)
	for _, tt := range []struct {
		name string
		test func(t *testing.T, b tab)
	}{
		{"two people in two tabs talk to each other", testTwoTabs},
		{"a token logs in, also from a link, and a reload does not log out", testToken},
		{"enter sends once, held or pressed twice", testEnter},
		{"a post that had no answer is sent again, and counts once", testRetry},
		{"what is not accepted is said, until it is connected again", testNotAccepted},
		{"it gets what was sent while it was away, once", testAway},
		{"it begins anew when the server was restarted", testRestart},
		{"it stays where there is no other node", testStay},
		{"it notices that the network has gone without a word", testSilence},
		{"a copy of a tab is a tab of its own", testCopy},
		{"links can be followed, and each text has its direction", testTexts},
		{"axe finds nothing, at a desk and on a phone", testAccessible},
		{"nobody needs a mouse", testKeyboard},
		{"on a phone with its keyboard there is room for messages", testPhone},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, tab{browsertest.Tab(t, running)}) })
	}
}

func testTwoTabs(t *testing.T, ann tab) {
	s := start(t, nil)
	bob := ann.another()
	ann.comeIn(s.Addr, "ann")
	bob.comeIn(s.Addr, "bob")
	ann.Sees("#people", "bob")
	ann.Sees("#people", "ann (you)")
	ann.Say("hello, is somebody there?")
	bob.Sees("#log", "hello, is somebody there?")
	bob.Sees("#log .who", "ann")
	ann.Sees("#log .mine", "hello, is somebody there?")
	bob.Do(chromedp.SendKeys(chromedp.CSS("#text"), "<img src=x onerror=alert(1)> & <b>bold</b>\n"))
	ann.Sees("#log", "<img src=x onerror=alert(1)> & <b>bold</b>")
	ann.Until("!document.querySelector('#log img, #log b')")
	assert.NotContains(t, browser.Value[string](bob.Tab, "location.href"), "device", "who gets the address evicts its sender")

	bob.Do(chromedp.Click(chromedp.CSS("#leave")))
	ann.Sees("#log", "bob left")
	ann.Until("!document.querySelector('#people').textContent.includes('bob')")
	ann.logs(t, "bob joined", "hello, is somebody there?", "<img src=x onerror=alert(1)> & <b>bold</b>", "bob left")
}

func testToken(t *testing.T, b tab) {
	s := start(t, closed)
	b.Do(chromedp.Navigate("http://" + s.Addr + "/?chat=general#token=" + s.token("ann")))
	b.Until("document.querySelector('#token').value !== ''")
	b.Do(chromedp.Click(chromedp.CSS("#login button")))
	b.Sees("#state", "Connected")
	assert.NotContains(t, browser.Value[string](b.Tab, "location.href"), "token")
	b.Do(chromedp.Navigate("http://" + s.Addr + "/?chat=general"))
	b.Sees("#state", "Connected")
	b.Say("hello")
	b.Sees("#log .mine", "hello")
	b.Do(chromedp.Click(chromedp.CSS("#leave")))
	b.Sees("#how", "gives you a token")
	b.Do(chromedp.Navigate("http://" + s.Addr + "/?chat=other"))
	b.Until("!document.querySelector('#welcome').hidden")
	b.Do(chromedp.SetValue(chromedp.CSS("#token"), "wrong"), chromedp.Click(chromedp.CSS("#login button")))
	b.Sees("#refused", "wrong")
}

// delayed makes the requests of a page take a while.
const delayed = `const real = window.fetch; window.fetch = async (...all) => { await new Promise(f => setTimeout(f, 200)); return real(...all); };`

func testEnter(t *testing.T, b tab) {
	s := start(t, nil)
	browsertest.OnNewPage(t, b.Tab, delayed)
	b.comeIn(s.Addr, "ann")
	b.Do(chromedp.SendKeys(chromedp.CSS("#text"), "once\n\n"))
	b.Sees("#log", "once")
	b.Until("!document.querySelector('#send').disabled") // its answer may come after it
	browser.Value[bool](b.Tab, `(() => {
		const text = document.querySelector('#text');
		text.value = 'held';
		for (let i = 0; i < 10; i++) text.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', repeat: i > 0, cancelable: true}));
		return true;
	})()`)
	b.Sees("#log", "held")
	b.Until("!document.querySelector('#send').disabled")
	b.logs(t, "once", "held")
	assert.Equal(t, uint64(2), s.broker.Stats().Accepted)
}

func testRetry(t *testing.T, b tab) {
	s := start(t, nil)
	browsertest.OnNewPage(t, b.Tab, `const real = window.fetch; window.lost = 0; window.fetch = async (path, options) => {
		const answer = await real(path, options);
		if (path.endsWith('/messages') && window.lost++ === 0) throw new TypeError('lost');
		return answer;
	};`)
	b.comeIn(s.Addr, "ann")
	b.Say("once")
	b.Sees("#problem", "Not sent")
	b.Sees("#log", "once")
	b.Do(chromedp.Click(chromedp.CSS("#send")))
	b.Until("document.querySelector('#text').value === '' && lost === 2")
	b.Say("next")
	b.Sees("#log", "next")
	b.logs(t, "once", "next")
}

func testNotAccepted(t *testing.T, b tab) {
	s := start(t, func(c *Config) { c.PostRate, c.Burst = 0.001, 3 })
	b.comeIn(s.Addr, "ann")
	for _, text := range []string{"1", "2", "3"} {
		b.Say(text)
		b.Until("document.querySelector('#text').value === ''")
	}
	b.Say("too fast")
	b.Sees("#problem", "Not sent: too fast")
	b.Until("document.querySelector('#text').value === 'too fast'")
	s.broker.Kick("general", s.broker.Devices("general")[0], nil)
	b.Sees("#state", "Connected")
	b.Until("document.querySelector('#problem').textContent === ''")
}

func testAway(t *testing.T, ann tab) {
	p := exampletest.NewProxy(t)
	s := start(t, func(c *Config) { c.LeaveGrace = exampletest.Within })
	p.To(s.Addr)
	bob := ann.another()
	s.mustSay("carl", "general", "zero")
	ann.comeIn(p.Addr, "ann")
	bob.comeIn(p.Addr, "bob")
	ann.Sees("#log", "bob joined")
	p.Cut()
	s.mustSay("carl", "general", "one", "two")
	ann.Sees("#log", "two")
	p.Cut()
	ann.Sees("#state", "Connected")
	s.mustSay("carl", "general", "three")
	ann.Sees("#log", "three")
	bob.Sees("#log", "three")
	ann.logs(t, "zero", "bob joined", "one", "two", "three")
	bob.logs(t, "zero", "one", "two", "three")
}

func testRestart(t *testing.T, b tab) {
	s := start(t, func(c *Config) { c.Secret = token.Key(strings.Repeat("secret ", 8)) })
	addr := s.Addr
	b.Do(chromedp.Navigate("http://" + addr + "/?chat=general#token=" + s.token("ann")))
	b.Until("document.querySelector('#token').value !== ''")
	b.Do(chromedp.Click(chromedp.CSS("#login button")))
	b.Sees("#state", "Connected")
	s.mustSay("bob", "general", "before")
	b.Sees("#log", "before")
	s.End()
	require.NoError(t, s.Done())
	b.Sees("#state", "Trying again")
	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	s = startOn(t, ln, func(c *Config) { c.Secret = token.Key(strings.Repeat("secret ", 8)) })
	s.mustSay("bob", "general", "while it was away")
	b.Sees("#log", "while it was away")
	s.mustSay("bob", "general", "after")
	b.Sees("#log", "after")
	b.logs(t, "The chat begins anew: the server was restarted, or has forgotten it.", "while it was away", "after")
}

func testSilence(t *testing.T, b tab) {
	p := exampletest.NewProxy(t)
	s := start(t, func(c *Config) { c.Ping = 200 * time.Millisecond })
	p.To(s.Addr)
	b.comeIn(p.Addr, "ann")
	p.Swallow(true)
	b.Sees("#state", "Trying again")
	p.Swallow(false)
	p.Cut()
	b.Sees("#state", "Connected")
}

func testCopy(t *testing.T, b tab) {
	s := start(t, nil)
	b.comeIn(s.Addr, "ann")
	device := browser.Value[string](b.Tab, "sessionStorage.getItem('device')")
	token := browser.Value[string](b.Tab, "sessionStorage.getItem('token')")
	copied := b.another()
	browsertest.OnNewPage(t, copied.Tab, fmt.Sprintf("sessionStorage.device ??= %q; sessionStorage.token ??= %q", device, token))
	copied.Do(chromedp.Navigate("http://" + s.Addr + "/?chat=general"))
	copied.Sees("#state", "Connected")
	b.Until(fmt.Sprintf("sessionStorage.device !== %q", device))
	b.Sees("#state", "Connected")
	exampletest.Soon(t, "both are there", func() bool { return len(s.broker.Devices("general")) == 2 })
	b.Sees("#count", "1 here now")
	assert.Equal(t, uint64(1), s.broker.Stats().Replaced)
}

func testTexts(t *testing.T, b tab) {
	s := start(t, nil)
	s.mustSay("bob", "general", "see https://example.com/a?b=c, or (http://example.org).", "שלום עולם", "javascript:alert(1)")
	b.comeIn(s.Addr, "ann")
	b.Sees("#log", "javascript")
	assert.Equal(t, []string{"https://example.com/a?b=c", "http://example.org"}, b.Shown("#log a"))
	b.Until("[...document.querySelectorAll('#log a')].every(a => a.rel.includes('noopener') && a.href.startsWith('http'))")
	assert.Equal(t, []string{"ltr", "rtl", "ltr"}, browser.Value[[]string](b.Tab, "[...document.querySelectorAll('.bubble')].map(e => getComputedStyle(e).direction)"))
}

func testAccessible(t *testing.T, b tab) {
	s := start(t, func(c *Config) { c.History = 20 })
	for i := range 15 { // names in many colours
		s.mustSay(fmt.Sprint("person ", i), "general", "hello https://example.com")
	}
	browsertest.EachLook(t, b.Tab, func() {
		b.Do(chromedp.Navigate("http://" + s.Addr + "/"))
		browser.Value[bool](b.Tab, "sessionStorage.clear(), true")
		b.Do(chromedp.Navigate("http://" + s.Addr + "/?chat=general"))
		b.Until("!document.querySelector('#welcome').hidden")
		browsertest.Accessible(t, b.Tab)
		b.comeIn(s.Addr, "ann")
		b.Sees("#log", "hello")
		browser.Value[bool](b.Tab, "document.querySelector('#who').open = true")
		browsertest.Accessible(t, b.Tab)
	})
}

// Nobody needs a mouse.
func testKeyboard(t *testing.T, b tab) {
	s := start(t, nil)
	b.Do(chromedp.Navigate("http://" + s.Addr + "/?chat=general"))
	b.Until("!document.querySelector('#welcome').hidden && !document.querySelector('#name-label').hidden")
	browsertest.TabTo(t, b.Tab, "#name")
	browsertest.Type(b.Tab, "ann\r")
	b.Sees("#state", "Connected")
	browsertest.TabTo(t, b.Tab, "#text")
	browsertest.Type(b.Tab, "hello\r")
	b.Sees("#log .mine", "hello")
	browsertest.TabTo(t, b.Tab, "#log") // whose arrow keys scroll it
	browsertest.TabTo(t, b.Tab, "#leave")
	browsertest.Type(b.Tab, " ")
	b.Until("!document.querySelector('#welcome').hidden")
}

func testPhone(t *testing.T, b tab) {
	s := start(t, nil)
	b.Do(chromedp.EmulateViewport(360, 400)) // what a keyboard leaves
	b.comeIn(s.Addr, "ann")
	height := browser.Value[float64](b.Tab, "document.querySelector('#log').clientHeight")
	assert.Greater(t, height, 260.0)
	assert.LessOrEqual(t, browser.Value[float64](b.Tab, "document.documentElement.scrollWidth"), 360.0)
}
