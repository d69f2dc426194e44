package main

import (
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
)

// The page in pixels, and how many the picture has for each of them, so that it is sharp on any
// screen and yet small.
const width, height, scale = 880, 816, 1.75

// person is somebody with a tab.
type person struct{ *browser.Tab }

// failure is what ends a play.
type failure struct{ error }

// play has people talk, and returns what ann's tab shows in the end.
func play(b *browser.Browser, addr string) (png []byte, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.error
		default:
			panic(r)
		}
	}()
	open := func(name string) *person {
		p := &person{b.Tab(func(err error) { panic(failure{err}) })}
		p.prepare()
		p.comeIn(addr, name)
		return p
	}
	ann, bob, carl := open("Ann"), open("Bob"), open("Carl")
	ann.Sees("#log", "Carl joined")
	bob.says("Morning! Did anybody look at the new office?", ann)
	carl.says("Yes, yesterday. It is bright, and the kitchen is huge.", ann)
	ann.says("Then we need a plan of who sits where. My train goes into a tunnel now: decide nothing!", bob)
	ann.away(func() {
		for _, text := range []string{"She is gone.", "Quick!", "We take the two desks at the window.", "And she gets the one beside the printer."} {
			bob.says(text, carl)
		}
		carl.says("It only beeps when it is warm.", bob)
	})
	ann.Sees("#log", "2 messages are missing here")
	ann.says("I am back, and I can read the last three of these.", bob)
	bob.says("Oh.", ann)
	ann.Do(chromedp.SendKeys(chromedp.CSS("#text"), "Now, about the tw"))
	return ann.Screenshot(), nil
}

// prepare sets the size of the tab, and lets its page lose its connection.
func (p *person) prepare() {
	p.Do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(scale)))
	const lossy = `
		window.WebSocket = new Proxy(WebSocket, {construct(Real, [url, protocols]) {
			return window.connection = new Real(window.away ? new URL('/away', url) : url, protocols);
		}});`
	_, err := chromedp.Call(p.Ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: lossy})
	if err != nil {
		panic(failure{err})
	}
}

// comeIn opens the page, and comes in.
func (p *person) comeIn(addr, name string) {
	p.Do(chromedp.Navigate("http://" + addr + "/?chat=office"))
	p.Until("!document.querySelector('#welcome').hidden")
	p.Do(chromedp.SetValue(chromedp.CSS("#name"), name), chromedp.Click(chromedp.CSS("#login button")))
	p.Sees("#state", "Connected")
}

// says has somebody send a text, and returns when somebody else sees it.
func (p *person) says(text string, to *person) {
	p.Do(chromedp.SetValue(chromedp.CSS("#text"), text), chromedp.Click(chromedp.CSS("#send")))
	for _, tab := range []*person{p, to} {
		tab.Sees("#log > :last-child", text)
	}
	p.Until("document.querySelector('#text').value === ''")
}

// away lets something happen while somebody has no connection, and returns when they have one
// again.
func (p *person) away(happens func()) {
	browser.Value[bool](p.Tab, "window.away = true, connection.close(), true")
	p.Until("document.body.dataset.state === 'waiting'")
	happens()
	browser.Value[bool](p.Tab, "window.away = false, true")
	p.Sees("#state", "Connected")
}
