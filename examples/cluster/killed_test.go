package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/chromedp/chromedp"
	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

// frame is what a socket gets.
type frame struct {
	Event     string
	Seq       uint64
	Position  string
	Recovered bool
	Missed    uint64
	Message   *struct{ By, Text string }
}

// socket is a WebSocket.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

// dial asks a node for a WebSocket.
func dial(t *testing.T, node *exampletest.Service, token, after string) (*socket, error) {
	ctx, cancel := context.WithTimeout(t.Context(), exampletest.Within)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/chats/general/socket?device=1&after=%s", node.Addr, after),
		&websocket.DialOptions{HTTPClient: node.HTTP, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	return &socket{t, conn}, err
}

// watch is dial, and wants the socket.
func watch(t *testing.T, node *exampletest.Service, token, after string) *socket {
	t.Helper()
	s, err := dial(t, node, token, after)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.conn.CloseNow() })
	return s
}

// read returns the next frame, or the error that ended the socket.
func (s *socket) read() (f frame, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), exampletest.Within)
	defer cancel()
	_, text, err := s.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	return f, err
}

// next returns the next frame, which must come.
func (s *socket) next() frame {
	s.t.Helper()
	f, err := s.read()
	require.NoError(s.t, err)
	return f
}

// A person posts and watches, each on one node, until that has gone.
type person struct {
	t     *testing.T
	d     *demo
	name  string
	token string
	moved atomic.Int64 // how often the socket has moved

	mu       sync.Mutex
	accepted []string // texts of posts, in order
	unknown  []string // texts of posts that had no answer
	got      []frame  // messages
	wrong    []string // what must not happen
}

func (p *person) posted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.accepted)
}

func (p *person) received() []frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// post posts until ctx ends, to one node after the other: to the next when one does not answer.
func (p *person) post(ctx context.Context, node int) {
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprintf("%s %d", p.name, i)
		req, _ := http.NewRequest(http.MethodPost, "http://"+p.d.nodes[node].Addr+"/chats/general/messages", strings.NewReader(fmt.Sprintf(`{"text":%q}`, text)))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+p.token)
		res, err := p.d.nodes[node].HTTP.Do(req)
		p.mu.Lock()
		switch {
		case err != nil:
			p.unknown = append(p.unknown, text)
			node = (node + 1) % nodes
		case res.StatusCode == http.StatusAccepted:
			p.accepted = append(p.accepted, text)
		case res.StatusCode == http.StatusGatewayTimeout:
			p.unknown = append(p.unknown, text)
		case res.StatusCode != http.StatusServiceUnavailable:
			p.wrong = append(p.wrong, fmt.Sprint(text, " was answered ", res.Status))
		}
		p.mu.Unlock()
		if err == nil {
			_ = res.Body.Close()
		}
	}
}

// watch receives until ctx ends, from one node after the other, and takes its position along.
func (p *person) watch(ctx context.Context, node int, position string, ready func()) {
	for ; ctx.Err() == nil; node = (node + 1) % nodes {
		s, err := dial(p.t, p.d.nodes[node], p.token, position)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = s.conn.CloseNow() })
		for first := true; ; first = false {
			f, err := s.read()
			if err != nil {
				break
			}
			p.mu.Lock()
			switch {
			case first && position != "" && !f.Recovered, f.Missed > 0, !first && f.Event == "reset":
				p.wrong = append(p.wrong, fmt.Sprintf("%+v after %s", f, position))
			case f.Event == "":
				p.got = append(p.got, f)
			}
			p.mu.Unlock()
			if f.Position != "" {
				position = f.Position
			}
			if first {
				ready()
			}
		}
		stop()
		_ = s.conn.CloseNow()
		p.moved.Add(1)
	}
}

// Three people post and watch while each node is killed and started again. What was accepted is
// received by all, once, in one order; what had no answer at most once.
func TestNodesThatAreKilledLoseNothingThatWasAccepted(t *testing.T) {
	d := startDemo(t)
	posting, endPosts := context.WithCancel(t.Context())
	watching, endWatches := context.WithCancel(t.Context())
	defer endPosts()
	defer endWatches()
	var people []*person
	var posts, watches sync.WaitGroup
	for i, name := range []string{"ann", "bob", "carl"} {
		p := &person{t: t, d: d, name: name, token: login(d.nodes[(i+1)%nodes], name)}
		people = append(people, p)
		ready := make(chan struct{})
		watches.Go(func() { p.watch(watching, i, "", sync.OnceFunc(func() { close(ready) })) })
		exampletest.Receive(t, "a socket", ready)
	}
	for i, p := range people {
		posts.Go(func() { p.post(posting, i) })
	}
	// more waits until everybody has posted and received more.
	more := func() {
		t.Helper()
		for _, p := range people {
			posted, received := p.posted(), len(p.received())
			exampletest.Soon(t, "more posts of "+p.name, func() bool { return p.posted() > posted+50 })
			exampletest.Soon(t, "more messages for "+p.name, func() bool { return len(p.received()) > received+50 })
		}
	}
	for i := range nodes {
		more()
		d.press(fmt.Sprint(i + 1))
		exampletest.Soon(t, "the end of the node", func() bool { return !listens(d.nodes[i].Addr) })
		more()
		d.press(fmt.Sprint(i + 1))
		exampletest.Soon(t, "the start of the node", func() bool { return listens(d.nodes[i].Addr) })
	}
	endPosts()
	posts.Wait()

	accepted, unknown := 0, make(map[string]bool)
	for _, p := range people {
		accepted += len(p.accepted)
		for _, text := range p.unknown {
			unknown[text] = true
		}
	}
	for _, p := range people {
		exampletest.Soon(t, "the rest for "+p.name, func() bool {
			n := 0
			for _, f := range p.received() {
				if !unknown[f.Message.Text] {
					n++
				}
			}
			return n >= accepted
		})
	}
	endWatches()
	watches.Wait()
	order := people[0].got
	seen := make(map[string]bool)
	for i, f := range order {
		require.Equal(t, order[0].Seq+uint64(i), f.Seq)
		require.False(t, seen[f.Message.Text], "twice: %s", f.Message.Text)
		seen[f.Message.Text] = true
	}
	moved := int64(0)
	for _, p := range people {
		assert.Empty(t, p.wrong)
		var own []string
		for _, f := range order {
			if f.Message.By == p.name && !unknown[f.Message.Text] {
				own = append(own, f.Message.Text)
			}
		}
		require.Equal(t, p.accepted, own, p.name)
		n := min(len(order), len(p.got)) // at the end, one that had no answer may still be on its way
		require.Equal(t, order[:n], p.got[:n], p.name)
		moved += p.moved.Load() - 1
	}
	assert.GreaterOrEqual(t, moved, int64(nodes))
	t.Logf("%d accepted, %d without an answer, %d received; sockets moved %d times", accepted, len(unknown), len(order), moved)
}

// comeIn opens the page of a node and comes in under a name.
func comeIn(b *browser.Tab, addr, name string) {
	b.Do(chromedp.Navigate("http://" + addr + "/?chat=general"))
	b.Until("!document.querySelector('#welcome').hidden && !document.querySelector('#name-label').hidden")
	b.Do(chromedp.SetValue(chromedp.CSS("#name"), name), chromedp.Click(chromedp.CSS("#login button")))
}

func TestAPageMovesToAnotherNodeWhenItsOwnIsKilled(t *testing.T) {
	b := browsertest.Tab(t, browsertest.Start(t))
	d := startDemo(t)
	bob := login(d.nodes[2], "bob")
	comeIn(b, d.nodes[0].Addr, "ann")
	b.Sees("#state", "Connected to node 1")
	var want []string
	say := func(text string) {
		want = append(want, text)
		b.Say(text)
		b.Sees("#log", text)
	}
	say("on node 1")
	at := 1
	for round := range 4 {
		d.press(fmt.Sprint(at))
		exampletest.Soon(t, "the end of the node", func() bool { return !listens(d.nodes[at-1].Addr) })
		text := fmt.Sprint(round, ": while the page moves")
		want = append(want, text)
		require.Equal(t, http.StatusAccepted, post(d.nodes[at%nodes], bob, text))
		b.Sees("#log", text)
		b.Until("document.querySelector('#state').textContent.startsWith('Connected to node')")
		state := browser.Value[string](b, "document.querySelector('#state').textContent")
		assert.NotEqual(t, fmt.Sprint("Connected to node ", at), state)
		d.press(fmt.Sprint(at))
		exampletest.Soon(t, "the start of the node", func() bool { return listens(d.nodes[at-1].Addr) })
		_, err := fmt.Sscanf(state, "Connected to node %d", &at)
		require.NoError(t, err)
		say(fmt.Sprint(round, ": on node ", at))
	}
	assert.Equal(t, want, b.Shown("#log .bubble, #log .note"))
}
