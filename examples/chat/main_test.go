package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is the example, running until stop is called.
type service struct {
	t    *testing.T
	addr string
	stop func() error // as a signal does, and returns what serve has returned
}

func start(t *testing.T) *service {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, ln) }()
	s := &service{t, ln.Addr().String(), sync.OnceValue(func() error { cancel(); return <-served })}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		_ = s.stop()
	})
	return s
}

// do makes a request with some headers, and returns the status.
func (s *service) do(method, path, body string, headers ...string) int {
	r, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	r.Host = r.Header.Get("Host")
	response, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	require.NoError(s.t, response.Body.Close())
	return response.StatusCode
}

func (s *service) post(text string) {
	s.t.Helper()
	body, err := json.Marshal(message{"ann", text})
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusNoContent, s.do(http.MethodPost, "/general", string(body)))
}

// client is a WebSocket and what it has received.
type client struct {
	*websocket.Conn
	t        *testing.T
	position string
	texts    []string
	events   []string
}

func (s *service) connect(after string) *client {
	url := fmt.Sprintf("ws://%s/general/socket?after=%s", s.addr, after)
	conn, _, err := websocket.Dial(s.t.Context(), url, nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return &client{Conn: conn, t: s.t}
}

// next reads a frame, and reports whether there was one.
func (c *client) next() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	_, data, err := c.Read(ctx)
	if err != nil {
		return err
	}
	var frame struct {
		Event    string
		Position string
		Message  message
	}
	require.NoError(c.t, json.NewDecoder(bytes.NewReader(data)).Decode(&frame))
	if frame.Position != "" {
		c.position = frame.Position
	}
	if frame.Event != "" {
		c.events = append(c.events, frame.Event)
	} else {
		c.texts = append(c.texts, frame.Message.Text)
	}
	return nil
}

func (c *client) read(texts int) {
	c.t.Helper()
	for len(c.texts) < texts {
		require.NoError(c.t, c.next())
	}
}

func TestAClientGetsTheLastMessagesAndThenTheNewOnes(t *testing.T) {
	s := start(t)
	s.post("one")
	c := s.connect("")
	c.read(1)
	s.post("two")
	c.read(2)
	require.Equal(t, []string{"one", "two"}, c.texts)
	require.Equal(t, []string{"ready"}, c.events)
}

func TestAClientThatComesBackGetsWhatItMissed(t *testing.T) {
	s := start(t)
	c := s.connect("")
	s.post("one")
	c.read(1)
	require.NoError(t, c.CloseNow())
	s.post("two")
	c = s.connect(c.position)
	c.read(1)
	require.Equal(t, []string{"two"}, c.texts)
	require.Equal(t, []string{"ready"}, c.events)
}

func TestASlowClientIsCutOffAndComesBackWithoutAGap(t *testing.T) {
	s := start(t)
	c := s.connect("")
	require.NoError(t, c.next()) // ready; from here on it reads nothing
	const messages = 400
	for i := range messages {
		s.post(fmt.Sprintf("%03d%s", i, strings.Repeat(".", 3_900)))
	}
	var err error
	for err == nil {
		err = c.next()
	}
	require.NotEmpty(t, c.texts)
	require.Less(t, len(c.texts), messages)
	seen := len(c.texts)
	c = s.connect(c.position)
	for len(c.texts) == 0 || !strings.HasPrefix(c.texts[len(c.texts)-1], fmt.Sprint(messages-1)) {
		require.NoError(t, c.next())
	}
	first, last := c.texts[0][:3], messages-1
	require.Len(t, c.texts, last+1-min(seen, messages), "from %s", first)
}

func TestEverythingAcceptedIsDeliveredBeforeTheEnd(t *testing.T) {
	s := start(t)
	var clients []*client
	for range 10 {
		clients = append(clients, s.connect(""))
	}
	for i := range 50 {
		s.post(fmt.Sprint(i))
	}
	require.NoError(t, s.stop())
	for _, c := range clients {
		c.read(50)
		err := c.next()
		for err == nil { // ended
			err = c.next()
		}
		require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
		require.Len(t, c.texts, 50)
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	s := start(t)
	for _, body := range []string{
		"", "{}", `{"from":"ann"}`, `{"from":"ann","text":""}`, `{"from":"","text":"hello"}`, "null", "hello",
		fmt.Sprintf(`{"from":"ann","text":%q}`, strings.Repeat("x", 4_001)), strings.Repeat(" ", 1<<20),
	} {
		require.Equal(t, http.StatusBadRequest, s.do(http.MethodPost, "/general", body), "%.50s", body)
	}
	require.Equal(t, http.StatusBadRequest, s.do(http.MethodPost, "/"+strings.Repeat("x", 300), `{"from":"a","text":"b"}`))
}

func TestOtherSitesCanNeitherPostNorConnect(t *testing.T) {
	s := start(t)
	for _, path := range []string{"/general", "/general/socket"} {
		require.Equal(t, http.StatusMisdirectedRequest, s.do(http.MethodGet, path, "", "Host", "evil.example"))
	}
	require.Equal(t, http.StatusMisdirectedRequest, s.do(http.MethodPost, "/general", `{"from":"a","text":"b"}`, "Host", "evil.example:80"))
	require.Equal(t, http.StatusForbidden, s.do(http.MethodPost, "/general", `{"from":"a","text":"b"}`, "Origin", "https://evil.example"))
	_, response, err := websocket.Dial(t.Context(), "ws://"+s.addr+"/general/socket", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://evil.example"}},
	})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	for _, host := range []string{"localhost", "localhost:80", "127.0.0.1", "[::1]:80"} {
		require.Equal(t, http.StatusOK, s.do(http.MethodGet, "/general", "", "Host", host), host)
	}
}

func TestTwoPagesTalkToEachOther(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t)
	ann, bob := browsertest.Tab(t, b), browsertest.Tab(t, b)
	for _, tab := range []*browser.Tab{ann, bob} {
		tab.Do(chromedp.Navigate("http://" + s.addr + "/general"))
		tab.Until("document.getElementById('state').textContent === 'Connected'")
	}
	ann.Until(`(document.getElementById('name').value = 'ann', document.getElementById('text').value = '<b>hello</b>',
		document.querySelector('form').requestSubmit(), document.querySelector('form').requestSubmit(), true)`)
	bob.Until("document.querySelectorAll('#log p').length > 0")
	require.Equal(t, []string{"ann: <b>hello</b>"}, bob.Shown("#log p"))
	require.NoError(t, s.stop())
	bob.Until("document.getElementById('state').textContent === 'Reconnecting…'")
}

// say makes a page post a text.
func say(tab *browser.Tab, text string) {
	tab.Until(fmt.Sprintf(`(document.getElementById('name').value = 'ann', document.getElementById('text').value = %q,
		document.querySelector('form').requestSubmit(), true)`, text))
}

func TestAPageComesBackWhenTheNetworkOrTheServerDoes(t *testing.T) {
	browsertest.Recovers(t, "/general", "Connected", func() (string, func()) {
		s := start(t)
		ctx, cancel := context.WithCancel(context.Background())
		posted := make(chan struct{})
		go func() {
			defer close(posted)
			for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
				s.post("still there")
			}
		}()
		end := func() {
			cancel()
			<-posted
			require.NoError(t, s.stop())
		}
		t.Cleanup(end)
		return s.addr, end
	})
}

func TestThePageIsAccessibleAndNeedsNoMouse(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t)
	tab := browsertest.Tab(t, b)
	browsertest.EachLook(t, tab, func() {
		tab.Do(chromedp.Navigate("http://" + s.addr + "/general"))
		tab.Sees("#state", "Connected")
		say(tab, "hello")
		tab.Sees("#log", "hello")
		browsertest.Accessible(t, tab)
	})
	tab.Do(chromedp.Navigate("http://" + s.addr + "/keyboard"))
	tab.Sees("#state", "Connected")
	browsertest.TabTo(t, tab, "#name")
	browsertest.Type(tab, "bob\t")
	browsertest.Type(tab, "hi there\r")
	tab.Sees("#log", "bob: hi there")
	browsertest.TabTo(t, tab, "#log") // whose arrow keys scroll it
}

// A WebSocket does not count among the six connections that a browser opens to a host.
func TestManyTabsGetMessagesAndPost(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t)
	var tabs []*browser.Tab
	for range 8 {
		tab := browsertest.Tab(t, b)
		tab.Do(chromedp.Navigate("http://" + s.addr + "/general"))
		tab.Sees("#state", "Connected")
		tabs = append(tabs, tab)
	}
	say(tabs[7], "to all")
	for _, tab := range tabs {
		tab.Sees("#log", "to all")
	}
}

func TestItIsReadyUntilTheEndBeginsAndHealthyUntilItIsOver(t *testing.T) {
	s := start(t)
	require.Equal(t, http.StatusOK, s.do(http.MethodGet, "/readyz", ""))
	s.connect("") // reads nothing, so that the server waits for its answer to the close frame
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	for s.do(http.MethodGet, "/readyz", "") != http.StatusServiceUnavailable {
		time.Sleep(time.Millisecond)
	}
	require.Equal(t, http.StatusOK, s.do(http.MethodGet, "/healthz", ""))
	require.NoError(t, <-ended)
}

// The README of the repository shows the heart of this program, line for line.
func TestTheReadmeShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(readme), "## To browsers\n")
	_, shown, _ := strings.Cut(section, "```go\n")
	shown, _, _ = strings.Cut(shown, "```")
	lines := 0
	for line := range strings.Lines(shown) {
		if line != "// …\n" {
			require.Contains(t, string(program), "\t"+line)
			lines++
		}
	}
	require.NotZero(t, lines)
}
