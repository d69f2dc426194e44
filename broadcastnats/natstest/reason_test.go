package natstest

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/internal/cluster"
)

// startReader starts a node, which the test ends.
func startReader(t *testing.T, o broadcastnats.Options) *cluster.Node {
	t.Helper()
	n := cluster.Start(newEngine(t, o), cluster.Config{})
	t.Cleanup(func() { n.Close(context.Background()) })
	return n
}

// awaitReason waits until a node says why it is away.
func awaitReason(t *testing.T, n *cluster.Node, want string) {
	t.Helper()
	eventually(t, want, func() bool {
		s := n.Stats()
		return !s.Up && strings.Contains(s.Reason, want)
	})
}

// Promise 60.
func TestTheReasonSaysWhatIsWrongWithTheServer(t *testing.T) {
	for what, test := range map[string]struct {
		change  func(*server.Options)
		options broadcastnats.Options
		want    string
	}{
		"wrong password": {
			change:  func(o *server.Options) { o.Username, o.Password = "ann", "secret" },
			options: broadcastnats.Options{Connect: []nats.Option{nats.UserInfo("ann", "wrong")}},
			want:    "Authorization Violation",
		},
		"no JetStream": {
			change: func(o *server.Options) { o.JetStream = false },
			want:   "no JetStream",
		},
		"more replicas than servers": {
			change:  func(*server.Options) {},
			options: broadcastnats.Options{Replicas: 3},
			want:    "replicas > 1 not supported",
		},
		"no permission": {
			change: func(o *server.Options) {
				denied := &server.SubjectPermission{Deny: []string{"$JS.API.>"}}
				o.Users = []*server.User{{
					Username: "ann", Password: "secret", Permissions: &server.Permissions{Publish: denied},
				}}
			},
			options: broadcastnats.Options{Connect: []nats.Option{nats.UserInfo("ann", "secret")}},
			want:    "Permissions Violation",
		},
	} {
		t.Run(what, func(t *testing.T) {
			o := options(t)
			test.change(o)
			test.options.URL = startServer(t, o).ClientURL()
			awaitReason(t, startReader(t, test.options), test.want)
		})
	}
}

// Promise 60.
func TestTheReasonSaysWhyTheConnectionDoesNotComeBack(t *testing.T) {
	o := options(t)
	o.Username, o.Password = "ann", "secret"
	s := startServer(t, o)
	at, err := url.Parse(s.ClientURL())
	require.NoError(t, err)
	n := startReader(t, broadcastnats.Options{
		URL: at.Host, Connect: []nats.Option{nats.UserInfo("ann", "secret")},
	})
	up := func() bool { return n.Stats().Up }
	eventually(t, "up", up)
	require.Empty(t, n.Stats().Reason)

	o.Port = s.Addr().(*net.TCPAddr).Port
	stopServer(s)
	awaitReason(t, n, "connection refused")
	o.Password = "changed"
	s = startServer(t, o)
	awaitReason(t, n, "Authorization Violation")
	stopServer(s)
	o.Password = "secret"
	startServer(t, o)
	eventually(t, "up", up)
	require.Empty(t, n.Stats().Reason)
}
