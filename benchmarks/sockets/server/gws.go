package main

import (
	"net/http"
	"sync"

	"github.com/lxzan/gws"
)

// gwsBroadcaster is gws with its Broadcaster, which frames a message once and queues it for each
// connection, without a limit.
func gwsBroadcaster() (http.Handler, func(int64) error, error) {
	all := &gwsClients{open: make(map[*gws.Conn]bool)}
	upgrader := gws.NewUpgrader(all, &gws.ServerOption{})
	watch := func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r)
		if err != nil {
			return // Upgrade has answered
		}
		go ws.ReadLoop() // as its documentation recommends: the request can be collected
	}
	return http.HandlerFunc(watch), all.publish, nil
}

// gwsClients are the open connections.
type gwsClients struct {
	gws.BuiltinEventHandler

	mu   sync.RWMutex
	open map[*gws.Conn]bool
}

// OnOpen implements [gws.Event].
func (c *gwsClients) OnOpen(ws *gws.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[ws] = true
}

// OnClose implements [gws.Event].
func (c *gwsClients) OnClose(ws *gws.Conn, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, ws)
}

func (c *gwsClients) publish(number int64) error {
	b := gws.NewBroadcaster(gws.OpcodeText, message(number))
	defer b.Close()
	c.mu.RLock()
	defer c.mu.RUnlock()
	for ws := range c.open {
		_ = b.Broadcast(ws) // fails when the client has gone
	}
	return nil
}
