// Package broadcastsse delivers the subscriptions of a [broadcast.Broker] as Server-Sent Events,
// which a browser reads with an EventSource. It needs net/http only.
//
// A service says who may watch what, and mounts a [Server]:
//
//	server, err := broadcastsse.New(broker, broadcastsse.Options[Message]{
//		Admit: func(r *http.Request) (broadcastsse.Ticket, error) {
//			user, err := login(r) // yours
//			return broadcastsse.Ticket{Chat: r.PathValue("chat"), Device: user}, err
//		},
//	})
//	mux.Handle("/chats/{chat}/events", server)
//
// # Events
//
// Each message is an event without a name, which EventSource hands to onmessage. It is encoded once
// for all streams of its chat; with the default Encode its data is JSON:
//
//	id: 1k5…-h
//	data: {"chat":"general","message":…,"seq":17,"position":"1k5…-h"}
//
// Everything else comes in events with a name, see [Event]: ready, reset, missed, joined, left,
// resync, heartbeat, ended.
//
// The id of an event is the position just after it. A browser that reconnects sends the last id as
// Last-Event-ID, and if the broker keeps a history, it misses nothing. Other clients may send it as
// after=POSITION in the query; the header takes precedence, because a browser repeats its query. If
// messages are missing, or may be, the stream begins with reset instead of ready.
//
// An EventSource reconnects whenever its stream has ended. Where it must not, the last event has an
// id that says why: replaced, kicked, or ended by Broker.EndChat. A request with such an id is
// answered with 204, which makes a browser give up. It also gives up after any other status but
// 200. So a server that is full or shutting down answers an EventSource with a stream that ends at
// once and tells it when to reconnect; other clients get 503. After any other status, from Admit or
// from a proxy, the page must open another EventSource, with after=POSITION; docs/sockets.md shows
// how.
//
// An EventSource does not notice that its connection is dead. A page should open another one when
// it has received no event for two heartbeat intervals. The first event gives the interval.
//
// # Connections
//
// Over HTTP/1.1 a browser opens six connections to a host, for all tabs together, and a stream
// keeps one of them busy: the seventh tab waits. Serve HTTP/2, or let the tabs of a page share one
// stream, with a SharedWorker or a BroadcastChannel.
//
// # The end of a service
//
// Call, in this order, [broadcast.Broker.Shutdown], which refuses new messages and lets each stream
// end when it has delivered the accepted ones; [Server.Drain], which waits for that; and
// [http.Server.Shutdown], which waits for every stream and so must come last. [ServeUntil] does.
package broadcastsse
