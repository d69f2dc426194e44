package server

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// startNodes runs servers that share their chats.
func startNodes(t testing.TB, n int, change func(*Config)) (all []*service) {
	t.Helper()
	engine := memengine.New(1, time.Millisecond, 1000)
	t.Cleanup(engine.Wait)
	listeners, origins := make([]net.Listener, n), make([]string, n)
	for i := range listeners {
		listeners[i] = exampletest.Listen(t)
		origins[i] = "http://" + listeners[i].Addr().String()
	}
	for _, ln := range listeners {
		all = append(all, startOn(t, ln, func(c *Config) {
			c.Options = []broadcast.Option{broadcast.WithEngine(engine.Client())}
			c.Nodes, c.Key = origins, "a key of the tests"
			if change != nil {
				change(c)
			}
		}))
	}
	return all
}

func TestNodesShareMessagesPositionsPresenceAndLogins(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	ann := nodes[0].watch("ann", "general", "")
	ann.next()
	who, _, _ := nodes[0].login(`{"name":"bob"}`)
	a := nodes[1].Do(http.MethodPost, "/chats/general/messages", `{"text":"one"}`, "Content-Type", "application/json", "Authorization", "Bearer "+who.Token)
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	first := ann.next()
	assert.Equal(t, "bob", first.Message.By)
	assert.Equal(t, "one", first.Message.Text)
	assert.WithinDuration(t, time.Now(), first.Message.At, exampletest.Within)
	nodes[0].mustSay("bob", "general", "two")
	assert.Equal(t, []string{"two"}, ann.told(1))
	require.NoError(t, ann.conn.CloseNow())
	ann = nodes[1].watch("ann", "general", first.Position)
	f := ann.next()
	assert.True(t, f.Recovered)
	assert.Contains(t, f.Devices, "ann/1")
	assert.Equal(t, []string{"two"}, ann.told(1))
	newcomer := nodes[1].watch("carl", "general", "")
	newcomer.next()
	assert.Equal(t, []string{"one", "two"}, newcomer.told(2))
}

func TestARetryOnAnotherNodeThatHasTheMessageIsAcceptedOnce(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	w := nodes[1].watch("bob", "general", "")
	w.next()
	say := func(node int) {
		a := nodes[node].say("ann", "general", "once", "Idempotency-Key", "k1")
		require.Equal(t, http.StatusAccepted, a.Status)
	}
	say(0)
	assert.Equal(t, []string{"once"}, w.told(1))
	say(1)
	say(0)
	nodes[1].mustSay("ann", "general", "after")
	assert.Equal(t, []string{"after"}, w.told(1))
}

func TestTheBytesOfAllHistoriesAreBoundedOnEachNode(t *testing.T) {
	nodes := startNodes(t, 2, func(c *Config) { c.HistoryBytes = maxBody })
	big := strings.Repeat("<", maxText)
	w := nodes[1].watch("bob", "general", "")
	w.next()
	for i := range 20 {
		nodes[i%2].mustSay("ann", "general", big)
		w.next()
	}
	for _, node := range nodes {
		shown := node.watch("carl", "general", "").told(21)
		assert.Equal(t, 20-maxBody/maxNote, strings.Count(strings.Join(shown, " "), "null"), "each message counts once")
		assert.Equal(t, big, shown[20])
		assert.Equal(t, maxBody/maxNote, node.kept.Len())
	}
}

func TestPagesOfOtherNodesMayPostAndConnectAndOthersMayNot(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	s, other := nodes[0], "http://"+nodes[1].Addr
	for origin, allowed := range map[string]bool{other: true, "http://127.0.0.1:1": false, "https://evil.example": false, "null": false} {
		a := s.say("ann", "general", "hello", "Origin", origin, "Sec-Fetch-Site", "same-site")
		assert.Equal(t, allowed, a.Status == http.StatusAccepted, origin)
		a = s.Do(http.MethodGet, "/chats/general/socket?device=1", "", "Origin", origin, "Sec-Fetch-Site", "same-site", "Authorization", "Bearer "+s.token("ann"))
		assert.Equal(t, !allowed, a.Status == http.StatusForbidden, origin)
	}
	policy := s.Do(http.MethodGet, "/", "").Header.Get("Content-Security-Policy")
	assert.Contains(t, policy, " "+other)
	assert.Contains(t, policy, " ws://"+nodes[1].Addr)
}

func TestWhatIsNoOriginIsNoNode(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Nodes = []string{"http://127.0.0.1:8080/path"}
	_, err := New(cfg)
	assert.ErrorIs(t, err, broadcast.ErrInvalid)
}

// A page whose address is not among those of the nodes stays where it is.
func testStay(t *testing.T, b tab) {
	s := start(t, func(c *Config) { c.Nodes = []string{"http://127.0.0.1:1"} })
	b.comeIn(s.Addr, "ann")
	require.Equal(t, []string{"Connected"}, b.Shown("#state"))
	s.broker.Kick("general", s.broker.Devices("general")[0], nil)
	b.Sees("#state", "Trying again")
	b.Sees("#state", "Connected")
}

// A node that has too many chats in memory forgets those that nobody watches, on any node.
func TestAtMaxChatsChatsLeaveThatAreWatchedOnNoNode(t *testing.T) {
	nodes := startNodes(t, 2, func(c *Config) { c.MaxChats = 2 })
	a, b := nodes[0], nodes[1]
	elsewhere := b.watch("bob", "watched elsewhere", "")
	elsewhere.next()
	a.watch("ann", "watched elsewhere", "").conn.CloseNow()
	a.mustSay("ann", "nobody's", "hello")
	a.watch("ann", "nobody's", "").conn.CloseNow()
	exampletest.Soon(t, "the sockets are closed", func() bool { return a.broker.Stats().Subscribers == 0 })
	assert.Equal(t, http.StatusOK, a.Do(http.MethodGet, "/readyz", "").Status)
	a.watch("ann", "new", "").next()
	b.mustSay("bob", "watched elsewhere", "still here")
	assert.Contains(t, elsewhere.told(1), "still here")
	b.mustSay("bob", "nobody's", "newer")
	assert.Equal(t, []string{"ready[ann/1]", "newer"}, b.watch("ann", "nobody's", "").told(2), "its history has left")
}

func TestANodeIsNotReadyWhileItsEngineIsAway(t *testing.T) {
	engine := memengine.New(1, time.Millisecond, 1000)
	t.Cleanup(engine.Wait)
	client := engine.Client()
	s := start(t, func(c *Config) { c.Options = []broadcast.Option{broadcast.WithEngine(client)} })
	ready := func(want int) func() bool {
		return func() bool { return s.Do(http.MethodGet, "/readyz", "").Status == want }
	}
	exampletest.Soon(t, "the node is ready", ready(http.StatusOK))
	client.Cut()
	exampletest.Soon(t, "the node is not ready", ready(http.StatusServiceUnavailable))
	assert.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/healthz", "").Status)
	client.Restore()
	exampletest.Soon(t, "the node is ready again", ready(http.StatusOK))
}
