package natstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

// A member is a server of a cluster. It keeps its addresses when it is started again.
type member struct {
	t       testing.TB
	options *server.Options
	server  *server.Server
}

// startMembers starts a cluster of three servers, which the test stops.
func startMembers(t testing.TB) []*member {
	t.Helper()
	var routes []*url.URL
	ports := freePorts(t, 6)
	for _, port := range ports[:3] {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	var members []*member
	for i := range 3 {
		o := options(t)
		o.ServerName = fmt.Sprint("server", i)
		o.Port = ports[3+i]
		o.Cluster = server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: ports[i]}
		o.Routes = routes
		m := &member{t: t, options: o}
		m.start()
		members = append(members, m)
	}
	t.Cleanup(func() {
		for _, m := range members {
			stopServer(m.server)
		}
	})
	awaitLeader(t, members)
	return members
}

// freePorts returns ports that nobody listens on. They are below those that the system gives to
// connections.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for len(ports) < n {
		port := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		ports = append(ports, port)
	}
	return ports
}

func (m *member) start() {
	s, err := server.NewServer(m.options.Clone())
	require.NoError(m.t, err)
	m.server = s
	s.Start()
	require.True(m.t, s.ReadyForConnections(settle))
}

func (m *member) stop() { stopServer(m.server) }

func (m *member) address() string { return fmt.Sprintf("127.0.0.1:%d", m.options.Port) }

// addresses returns the addresses of all members.
func addresses(members []*member) (all []string) {
	for _, m := range members {
		all = append(all, m.address())
	}
	return all
}

// urls returns the addresses of all members for one client.
func urls(members []*member) string { return strings.Join(addresses(members), ",") }

// awaitLeader waits until the servers can make streams, and all of them take part.
func awaitLeader(t testing.TB, members []*member) {
	t.Helper()
	eventually(t, "a leader of the servers", func() bool {
		for _, m := range members {
			if m.server.JetStreamIsLeader() && len(m.server.JetStreamClusterPeers()) == len(members) {
				return true
			}
		}
		return false
	})
}

// leader returns the member that leads the stream of the tests, and waits until there is one.
func leader(t testing.TB, members []*member) (l *member) {
	t.Helper()
	eventually(t, "a leader of the stream", func() bool {
		for _, m := range members {
			if m.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "broadcast") {
				l = m
				return true
			}
		}
		return false
	})
	return l
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begin) > settle {
			require.FailNow(t, what+": not within "+settle.String())
		}
	}
}
