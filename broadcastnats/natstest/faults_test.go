package natstest

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
)

// all is more records than a test stores.
const all = 1 << 20

func TestNothingIsLostWhenConnectionsAreCut(t *testing.T) {
	s := startServer(t, options(t))
	w := startWorld(t, broadcastnats.Options{Records: all}, s.Addr().String())
	for round := range 6 {
		n := w.nodes[round%len(w.nodes)]
		n.proxy.setCut(true)
		eventually(t, "down", func() bool { return !n.Stats().Up })
		w.someMore()
		n.proxy.setCut(false)
		w.progress()
	}
	w.checkAll()
}

func TestNothingIsLostWhenTheServerDropsItsClients(t *testing.T) {
	s := startServer(t, options(t))
	w := startWorld(t, broadcastnats.Options{Records: all}, s.Addr().String())
	for range 6 {
		connections, err := s.Connz(nil)
		require.NoError(t, err)
		dropped := 0
		for _, c := range connections.Conns {
			if s.DisconnectClientByID(c.Cid) == nil { // else it has just gone by itself
				dropped++
			}
		}
		require.Positive(t, dropped)
		w.progress()
	}
	w.checkAll()
}

func TestNothingIsLostWhenConnectionsGoSilent(t *testing.T) {
	s := startServer(t, options(t))
	w := startWorld(t, broadcastnats.Options{Records: all}, s.Addr().String())
	n := w.nodes[0]
	n.proxy.setSilent(true)
	eventually(t, "down", func() bool { return !n.Stats().Up })
	w.someMore()
	n.proxy.setSilent(false)
	w.progress()
	w.checkAll()
}

func TestNothingIsLostWhenNodesDie(t *testing.T) {
	s := startServer(t, options(t))
	w := startWorld(t, broadcastnats.Options{Records: all}, s.Addr().String())
	for range 4 {
		w.stopNode(w.nodes[0])
		w.someMore()
		w.startNode()
		w.progress()
	}
	w.checkAll()
}

func TestNothingIsLostWhenAServerStartsAgain(t *testing.T) {
	m := &member{t: t, options: options(t)}
	m.options.Port = freePorts(t, 1)[0]
	m.start()
	t.Cleanup(func() { m.stop() })
	w := startWorld(t, broadcastnats.Options{Records: all}, m.address())
	for range 3 {
		m.stop()
		eventually(t, "down", func() bool { return !w.nodes[0].Stats().Up })
		m.start()
		w.progress()
	}
	w.checkAll()
}

func TestNothingIsLostWhenServersOfAClusterStop(t *testing.T) {
	members := startMembers(t)
	o := broadcastnats.Options{Records: all, Replicas: 3}
	w := startWorld(t, o, addresses(members)...)
	js := admin(t, urls(members))
	stop := map[string]func(m *member){
		"shutdown": (*member).stop,
		"lame duck": func(m *member) {
			m.server.LameDuckShutdown()
			m.server.WaitForShutdown()
		},
	}
	for what, stop := range stop {
		for _, isLeader := range []bool{true, false} {
			if testing.Short() && isLeader != (what == "shutdown") {
				continue // it takes some 8 s each
			}
			m := leader(t, members)
			if !isLeader {
				m = members[(slices.Index(members, m)+1)%len(members)]
			}
			stop(m)
			w.someMore()
			m.start()
			awaitReplicas(t, js)
			w.progress()
		}
	}
	w.checkAll()
}

// The leader alone still answers, but stores nothing until one of the others is back. So nodes that
// reconnect meanwhile are up, and what they have appended before is stored after that.
func TestNothingIsLostWhenNodesReconnectToALeaderThatIsAlone(t *testing.T) {
	members := startMembers(t)
	o := broadcastnats.Options{Records: all, Replicas: 3, Connect: []nats.Option{nats.IgnoreDiscoveredServers()}}
	w := startWorld(t, o, addresses(members)...)
	js := admin(t, urls(members))
	alone := leader(t, members)
	reached := w.nodes[slices.Index(members, alone)] // each node uses another server
	for _, m := range members {
		if m != alone {
			m.stop()
		}
	}
	before := reached.Stats()
	reached.proxy.setCut(true)
	eventually(t, "down", func() bool { return !reached.Stats().Up })
	reached.proxy.setCut(false)
	eventually(t, "up, unless the leader gave up first", func() bool {
		leads := alone.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "broadcast")
		return reached.Stats().Up || !leads
	})
	eventually(t, "publishers left in doubt", func() bool { return reached.Stats().Uncertain > before.Uncertain })
	for _, m := range members {
		if m != alone {
			m.start()
		}
	}
	awaitReplicas(t, js)
	w.progress()
	w.checkAll()
}

func TestNothingIsLostWhenTheLeaderStepsDown(t *testing.T) {
	members := startMembers(t)
	o := broadcastnats.Options{Records: all, Replicas: 3}
	w := startWorld(t, o, addresses(members)...)
	js := admin(t, urls(members))
	for range 5 {
		old := leader(t, members)
		answer, err := js.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN.broadcast", nil, settle)
		require.NoError(t, err)
		require.Contains(t, string(answer.Data), `"success":true`)
		eventually(t, "another leader", func() bool {
			return !old.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "broadcast")
		})
		leader(t, members)
		w.progress()
	}
	w.checkAll()
}

func TestWhenTheStreamLosesItsMemoryTheOrderIsStillOne(t *testing.T) {
	for what, forget := range forgets {
		t.Run(what, func(t *testing.T) {
			s := startServer(t, options(t))
			w := startWorld(t, broadcastnats.Options{Records: all}, s.Addr().String())
			js := admin(t, s.ClientURL())
			for range 5 {
				forget(t, js)
				w.progress()
			}
			resets := w.resets()
			w.finish()
			w.check()
			require.Positive(t, resets)
		})
	}
}

// A server of a cluster that has lost its disk begins the stream again as it was first made, with
// the same sequences. The nodes make sure that none is used twice.
func TestSequencesAreNotUsedAgainWhenAServerLosesItsDisk(t *testing.T) {
	members := startMembers(t)
	w := startWorld(t, broadcastnats.Options{Records: all, Replicas: 1}, addresses(members)...)
	js := admin(t, urls(members))
	rounds := 2
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		before := state(t, js)
		m := leader(t, members)
		m.stop()
		m.options.StoreDir = t.TempDir()
		m.start()
		eventually(t, "the stream", func() bool {
			s, err := js.Stream(t.Context(), "broadcast")
			return err == nil && s.CachedInfo().State.FirstSeq > before.LastSeq
		})
		w.progress()
	}
	w.finish()
	w.check()
}

// state returns the state of the stream.
func state(t *testing.T, js jetstream.JetStream) jetstream.StreamState {
	t.Helper()
	s, err := js.Stream(t.Context(), "broadcast")
	require.NoError(t, err)
	return s.CachedInfo().State
}

// awaitReplicas waits until all replicas of the stream are up to date.
func awaitReplicas(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "all replicas", func() bool {
		s, err := js.Stream(t.Context(), "broadcast")
		if err != nil {
			return false
		}
		c := s.CachedInfo().Cluster
		if c == nil || c.Leader == "" || len(c.Replicas) != 2 {
			return false
		}
		for _, r := range c.Replicas {
			if !r.Current || r.Offline || r.Active > time.Second {
				return false
			}
		}
		return true
	})
}
