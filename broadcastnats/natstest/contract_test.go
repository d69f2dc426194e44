package natstest

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/engine/enginetest"
)

// proxied returns what enginetest needs to cut drivers off servers at the addresses. Each driver
// uses the next of them.
func proxied(t *testing.T, o broadcastnats.Options, addresses ...string) enginetest.Config {
	proxies := make(map[engine.Engine]*proxy)
	return enginetest.Config{
		New: func() engine.Engine {
			p := newProxy(t, addresses[len(proxies)%len(addresses)])
			o.URL = p.url()
			e := newEngine(t, o)
			proxies[e] = p
			return e
		},
		Cut: func(driver engine.Engine) func() {
			p := proxies[driver]
			p.setCut(true)
			return func() { p.setCut(false) }
		},
		Keep:   o.Records,
		Settle: settle,
	}
}

func TestTheDriverKeepsTheContract(t *testing.T) {
	for name, records := range map[string]int{"one record": 1, "five records": 5, "many records": 1000} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, options(t))
			config := proxied(t, broadcastnats.Options{Records: records}, s.Addr().String())
			if records == 1000 {
				config.Keep = 0
			}
			js := admin(t, s.ClientURL())
			for what, forget := range forgets {
				config.Forget = func() { forget(t, js) }
				t.Run(what, func(t *testing.T) { enginetest.Run(t, config) })
			}
		})
	}
}

// forgets are the ways in which somebody makes the stream lose its memory.
var forgets = map[string]func(*testing.T, jetstream.JetStream){
	"purge": func(t *testing.T, js jetstream.JetStream) {
		stream, err := js.Stream(t.Context(), "broadcast")
		require.NoError(t, err)
		require.NoError(t, stream.Purge(t.Context()))
	},
	"delete": func(t *testing.T, js jetstream.JetStream) {
		require.NoError(t, js.DeleteStream(t.Context(), "broadcast"))
	},
}

func TestTheDriverKeepsTheContractWithThreeReplicas(t *testing.T) {
	members := startMembers(t)
	o := broadcastnats.Options{Records: 5, Replicas: 3, Connect: []nats.Option{nats.IgnoreDiscoveredServers()}}
	config := proxied(t, o, addresses(members)...)
	js := admin(t, urls(members))
	for what, forget := range forgets {
		config.Forget = func() { forget(t, js) }
		t.Run(what, func(t *testing.T) { enginetest.Run(t, config) })
	}
}
