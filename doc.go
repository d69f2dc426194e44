// Package broadcast fans messages out inside a process: any goroutine publishes a message to a chat, and every device
// subscribed to that chat receives it. A chat is a topic, a device is a subscriber's key; the words come from messengers, the
// uses do not: live dashboards, progress streams, cache invalidation, game rooms.
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
// A subscription is read by one goroutine, with [Subscriber.Next], [Subscriber.NextBatch], [Subscriber.All],
// [Subscriber.Messages] or, for select, [Subscriber.Chan]. Everything else may be called from anywhere at any time, also
// from inside a loop that reads.
//
// # Delivery and order
//
// Publish returns nil exactly when the message was accepted; after an error nobody gets it. An accepted message has a place
// in its chat's one order, its Seq, which is the same for all readers and agrees with time: if one Publish returned before
// another began, its Seq is smaller. A subscription gets every message accepted after Subscribe returned, once, or is told
// how many it missed in the Missed of the next delivery; the books, [SubscriberStats], balance exactly.
//
// A message is stored once, however many read it, and handed to all of them without copying what it points to: treat it as
// read-only. Keep T small, or a pointer.
//
// # Slow readers
//
// A reader may be [WithBuffer] messages behind. When a message comes that does not fit, publishers of that chat wait a moment, once
// ([WithPatience]), so that a reader which is only waiting for a processor is not overrun; then the subscription's strategy
// decides:
//
//	DropOldest   the newest messages stay (the default)
//	DropNewest   the oldest messages stay
//	DropRandom   each is equally likely to go
//	Disconnect   the subscription ends with ErrSlow
//	Block        nothing is lost, publishers of the chat wait
//	WithSampler  as your function says
//
// No strategy but Block lets a reader that is stuck cost publishers or other readers more than that one moment, and no chat
// delays another. [WithStallTimeout] ends readers that have stopped reading.
//
// # History and presence
//
// [WithHistory] keeps the last messages of a chat. A subscription may begin with them, [Replay], or after the [Position] of
// a delivery, [Resume]; what is published goes on from there without a gap and without a duplicate, and what is gone is
// told as Missed. [WithPresence] also delivers who joins and who leaves, in one order with the messages.
//
// # Ends
//
// A subscription ends once, with a reason that [Subscriber.Err] keeps and Next returns for ever:
//
//	Broker.Close, Shutdown     ErrClosed             what was buffered stays readable
//	strategy Disconnect        ErrSlow               stays readable
//	stall timeout              ErrStalled            stays readable
//	takeover by its device     ErrReplaced           gone at once
//	Subscriber.Close           ErrClosed             gone at once
//	Until(ctx)                 context.Cause(ctx)    gone at once
//	sampler panics or exits    *PanicError           gone at once
//
// [Broker.Shutdown] refuses new messages and waits until readers have taken what was accepted; [Broker.Close] does not wait.
//
// # Goroutines and memory
//
// A broker has a few goroutines, from New to Close. An idle subscription has none and takes a few hundred bytes, whatever its
// buffer; publishing starts none; only Chan starts one. A chat keeps what some reader may still take: a stuck reader
// pins at most its buffer. Nothing ticks: a timer runs only while a reader could stall or a chat waits to be forgotten.
//
// # Testing
//
// Package [github.com/fbd86cad/broadcast/broadcasttest] is for the tests of a service: a broker that ends with the test, helpers
// that take what should come or say what came instead, stalled readers, a check for leaks. Time is that of package time, so that
// everything works in a bubble of [testing/synctest], where patience and timeouts cost nothing. A bubble that is deadlocked is
// reported. After Close or Shutdown no goroutine is left for a leak checker to find.
package broadcast
