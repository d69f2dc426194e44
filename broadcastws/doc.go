// Package broadcastws delivers the subscriptions of a [broadcast.Broker] to WebSockets.
//
// A service says who may watch what, and mounts a [Server]:
//
//	server, err := broadcastws.New(broker, broadcastws.Options[Message]{
//		Admit: func(r *http.Request) (broadcastws.Ticket, error) {
//			user, err := login(r) // yours
//			return broadcastws.Ticket{Chat: r.PathValue("chat"), Device: user}, err
//		},
//	})
//	mux.Handle("/chats/{chat}/socket", server)
//
// # Frames
//
// Each message is one frame, encoded once for all sockets of its chat; with the default Encode it
// is JSON:
//
//	{"chat":"general","message":…,"seq":17,"position":"1k5…-h"}
//
// Everything else comes in event frames, see [Event]:
//
//	{"event":"ready","chat":"general","position":"1k5…-g","recovered":false,"heartbeat":25000}
//	{"event":"missed","chat":"general","missed":3}
//
// A client that reconnects adds after=POSITION to the query, with the position of the last frame
// that had one. If the broker keeps a history, the client misses nothing. Scripts in a browser
// cannot see pings: a page should reconnect when it has received no frame for two heartbeat
// intervals.
//
// # Close codes
//
//	the device has opened another socket    4001
//	Broker.EndChat                          1000, with its reason
//	Broker.Kick with an ErrKicked           4003
//	the client is too slow                  1013, or a reset if half a frame has gone out
//	Drain, Broker.Close, Broker.Shutdown    1001
//	the client has sent what is refused     1008
//	the client has sent too much            1009
//	the client breaks the protocol          1002, 1007
//	anything else                           1011
//
// # The end of a service
//
// Call, in this order, [broadcast.Broker.Shutdown], which refuses new messages and lets each socket
// close when it has delivered the accepted ones; [Server.Drain], which waits for that; and
// [http.Server.Shutdown], which does not know of WebSockets. [ServeUntil] does.
package broadcastws
