// Package broadcast fans messages out inside a service. Any goroutine publishes a message to a
// chat, and every device subscribed to that chat receives it. A chat is a topic; a device is a
// subscriber's key. The words come from messengers, but the package also serves dashboards,
// progress streams, cache invalidation and game rooms.
//
// # Usage
//
//	b, err := broadcast.New[Event](broadcast.WithBuffer(64))
//	s, err := b.Subscribe("room", "ann")
//	err = b.Publish(ctx, "room", Event{…})
//	for d := range s.All(ctx) {
//		handle(d.Message) // d.Missed says how many were lost just before it
//	}
//	err = b.Shutdown(ctx)
//
// One goroutine reads a subscription, with [Subscriber.Next], [Subscriber.NextBatch],
// [Subscriber.All], [Subscriber.Messages] or, for select, [Subscriber.Chan]. All other methods may
// be called from anywhere at any time, even from inside a loop that reads; [Broker.Publish] and
// [Broker.Shutdown] document when they wait there for the loop itself. Give each reader of a chat
// its own device, or none: see [Broker.SubscribeAnonymous].
//
// # Delivery and order
//
// Publish returns nil exactly when the message was accepted; after an error nobody ever receives
// it. The accepted messages of a chat have one order, the same for all readers, and the Seq of a
// message is its place in it. The order agrees with time: if one Publish returned before another
// began, its Seq is smaller. A subscription gets each message accepted after Subscribe returned
// exactly once, or the Missed of its next delivery counts it as lost. [SubscriberStats] also counts
// what was lost after the last delivery, and these counts balance exactly.
//
// A message is stored once, however many readers it has, and all of them get it without a copy of
// what it points to: treat it as read-only. Keep T small, or a pointer.
//
// # Slow readers
//
// A reader may be [WithBuffer] messages behind. When the next message does not fit, publishers of
// that chat pause once, at most [WithPatience], to let the reader drain to half its buffer; a
// reader that merely awaits a CPU loses nothing. Then the subscription's strategy decides:
//
//	DropOldest   the newest messages stay (the default)
//	DropNewest   the oldest messages stay
//	DropRandom   each message is equally likely to be dropped
//	Disconnect   the subscription ends with ErrSlow
//	Block        nothing is lost, publishers of the chat wait
//	WithSampler  your function decides
//
// With any strategy but Block, a stuck reader costs publishers and other readers no more than that
// one pause, and no chat delays another. A reader that is slow but moves costs a pause each time it
// has drained to half its buffer; see [WithPatience]. [WithStallTimeout] ends readers that have
// stopped reading.
//
// # History and presence
//
// [WithHistory] keeps the last messages of a chat. A subscription may begin with them ([Replay]),
// or after the [Position] of a delivery ([Resume]). Published messages follow without a gap and
// without a duplicate, and Missed counts what is no longer kept. [WithPresence] also delivers an
// event when a device joins or leaves, in one order with the messages.
//
// # Many processes
//
// A broker serves one process. [WithEngine] makes those of several processes share their chats: the
// order, the positions and the devices of a chat are the same on all of them. What follows from it
// is in the docs of each call; in particular, calls may wait for the engine, and after
// [ErrUncertain] a message may still be delivered.
//
// # Ends
//
// A subscription ends once, with a reason. From then on [Subscriber.Err] returns it, and so does
// Next when nothing is left to read:
//
//	Broker.Close, Shutdown     ErrBrokerClosed       what was buffered stays readable
//	Broker.EndChat             ErrEnded, its reason  everything is taken before the end
//	strategy Disconnect        ErrSlow               stays readable
//	stall timeout              ErrStalled            stays readable
//	takeover by its device     ErrReplaced           gone at once
//	Broker.Kick                its reason            gone at once
//	Subscriber.Close           ErrClosed             gone at once
//	Until(ctx)                 context.Cause(ctx)    gone at once
//	sampler panics or exits    *PanicError           gone at once
//
// [Broker.Shutdown] refuses new messages and waits until readers have taken the accepted ones;
// [Broker.Close] does not wait. [Broker.EndChat] ends one chat, also for those who come after its
// end.
//
// # Goroutines and memory
//
// A broker has a few goroutines, from New to Close. A subscription has none of its own, only yours
// that reads it, and takes a few hundred bytes, whatever its buffer. Publishing starts no
// goroutine; Chan starts one. Nothing ticks: a timer runs only while a reader could stall, a chat
// waits to be forgotten, history waits to expire, or messages that were taken wait to be released.
//
// A chat retains the messages that some reader may still take, and its history. A stuck reader
// retains at most its buffer, or two buffers with DropRandom or a sampler. The log stores messages
// in segments of up to 256 and releases a segment as a whole, so a retained message may keep the
// rest of its segment. Of the messages that all readers have taken:
//
//	a busy chat retains up to a segment
//	a quiet chat retains nothing once one WithCleanInterval has passed since the last Publish, or
//	    two if a reader is behind after one; if it is behind after two, the wait begins again
//	    with the next Publish or the end of that reader
//	a chat that its last reader has left, or that was forgotten, retains nothing
//	a subscription that has ended retains only what stays readable, until that is taken, however
//	    long you keep the Subscriber
//
// The same holds for history that has expired.
//
// # Testing
//
// Package [github.com/fbd86cad/broadcast/broadcasttest] helps to test a service: it has a broker
// that is closed when the test ends, helpers that take the expected deliveries or report what came
// instead, stalled readers, and a check for leaks. All timing uses package time, so everything
// works in a bubble of [testing/synctest], where patience and timeouts take no real time and a
// deadlock is reported; only the connections of an engine are real. After Close or Shutdown, a leak
// checker finds no goroutine.
package broadcast
