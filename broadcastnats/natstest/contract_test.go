package natstest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/enginetest"
)

// proxied returns what enginetest needs to cut drivers off a server at an address.
func proxied(t *testing.T, address string, o broadcastnats.Options) enginetest.Config {
	proxies := make(map[cluster.Engine]*proxy)
	return enginetest.Config{
		New: func() cluster.Engine {
			p := newProxy(t, address)
			o.URL = p.url()
			e := newEngine(t, o)
			proxies[e] = p
			return e
		},
		Cut: func(driver cluster.Engine) func() {
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
			config := proxied(t, s.Addr().String(), broadcastnats.Options{Records: records})
			if records == 1000 {
				config.Keep = 0
			}
			js := admin(t, s.ClientURL())
			for what, forget := range map[string]func(){
				"purge": func() {
					stream, err := js.Stream(context.Background(), "broadcast")
					require.NoError(t, err)
					require.NoError(t, stream.Purge(context.Background()))
				},
				"delete": func() {
					require.NoError(t, js.DeleteStream(context.Background(), "broadcast"))
				},
			} {
				config.Forget = forget
				t.Run(what, func(t *testing.T) { enginetest.Run(t, config) })
			}
		})
	}
}
