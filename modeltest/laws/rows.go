package main

import (
	"context"
	"runtime/coverage"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fbd86cad/broadcast"
)

// law is how work may grow with something.
type law int

const (
	constant law = iota
	logarithmic
	linear
	sorting
)

var names = [...]string{"O(1)", "O(log n)", "O(n)", "O(n log n)"}

// allows reports whether work that has grown so much, with something that has grown eightfold,
// keeps the law.
func (l law) allows(growth float64) bool {
	return growth < [...]float64{1.4, 2, 10, 14}[l]
}

// The dimensions of a size.
const (
	readers = iota
	chats
	buffer
	history
	followers
)

var dimensions = [...]string{"readers", "chats", "buffer", "history", "followers"}

// size is how many there are of each: readers of the chat, other chats with one reader each,
// messages in the buffer of each reader, messages in the history, which is full, and readers of the
// chat that follow presence, whose buffers are so large that they are never full.
type size [len(dimensions)]int

// laws are what a call keeps in each dimension: constant, where nothing else is said.
type laws [len(dimensions)]law

var base = size{readers: 64, chats: 64, buffer: 64, history: 4096, followers: 32}

const times = 8

// few is how many calls are counted where one changes what the next one costs.
const few = 32

const chat = "chat"

// row is a call in some circumstances, and the laws that it keeps.
type row struct {
	call, when string
	laws       laws
	broker     []broadcast.Option
	reader     []broadcast.SubscribeOption
	run        func(w *world)
}

// world is a broker of a size.
type world struct {
	size
	*testing.T
	*broadcast.Broker[int]
	readers, followers []*broadcast.Subscriber[int]
	until              context.CancelFunc
	loops              context.Context
	stop               context.CancelFunc
	work               uint64
	calls              int
}

func newWorld(t *testing.T, r *row, size size) *world {
	opts := []broadcast.Option{
		broadcast.WithHistory(size[history], 0), broadcast.WithBuffer(size[buffer]),
		broadcast.WithPatience(0), broadcast.WithCleanInterval(time.Hour), broadcast.WithChatIdle(1000 * time.Hour),
	}
	b, err := broadcast.New[int](append(opts, r.broker...)...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{size: size, T: t, Broker: b}
	w.loops, w.stop = context.WithCancel(context.Background())
	until, cancel := context.WithCancel(context.Background())
	w.until = cancel
	w.publish(size[history])
	for i := range size[chats] {
		w.join("chat "+strconv.Itoa(i), "reader")
	}
	for i := range size[readers] {
		w.readers = append(w.readers, w.join(chat, "reader "+strconv.Itoa(i), append(r.reader, broadcast.Until(until))...))
	}
	for i := range size[followers] {
		w.followers = append(w.followers, w.join(chat, "follower "+strconv.Itoa(i), broadcast.WithPresence(), broadcast.WithBuffer(1<<20)))
	}
	drain(w.followers)
	return w
}

func (w *world) close() {
	w.stop()
	w.until()
	if err := w.Close(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) join(chat, device string, opts ...broadcast.SubscribeOption) *broadcast.Subscriber[int] {
	s, err := w.Subscribe(chat, device, opts...)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// publish publishes so many messages, which the followers take.
func (w *world) publish(n int) {
	for i := range n {
		if err := w.Publish(context.Background(), chat, i); err != nil {
			w.Fatal(err)
		}
		if i%w.size[buffer] == w.size[buffer]-1 || i == n-1 {
			drain(w.followers)
		}
	}
}

func drain(subscribers []*broadcast.Subscriber[int]) {
	for _, s := range subscribers {
		for ok := true; ok; {
			_, ok = s.TryNext()
		}
	}
}

// loop reads in a goroutine of each until the world ends.
func (w *world) loop(subscribers []*broadcast.Subscriber[int]) {
	for _, s := range subscribers {
		go func() {
			for range s.All(w.loops) {
			}
		}()
	}
	synctest.Wait()
}

// count counts the work of n calls, and of what they cause.
func (w *world) count(n int, call func(i int)) {
	synctest.Wait()
	w.accept(coverage.ClearCounters())
	for i := range n {
		call(i)
	}
	synctest.Wait()
	work, err := counted()
	w.accept(err)
	w.work, w.calls = work, n
}

// countEach counts the work of n things that one call does.
func (w *world) countEach(n int, call func()) {
	w.count(1, func(int) { call() })
	w.calls = n
}

// accept ends the measurement at an error.
func (w *world) accept(err error) {
	if err != nil {
		w.Fatal(err)
	}
}

var background = context.Background()

// dropsNewest is a sampler that looks at nothing.
var dropsNewest = broadcast.WithSampler(func(b broadcast.Backlog[int], _ int) int { return b.Len() })

// overrun makes all readers as far behind as they get.
func overrun(w *world) { w.publish(3 * w.size[buffer]) }

var rows = []row{
	{call: "`Publish`", when: "readers keep up", run: func(w *world) {
		w.count(few, func(i int) { w.accept(w.Publish(background, chat, i)) })
	}},
	{call: "`TryPublish`", when: "readers keep up", run: func(w *world) {
		w.count(few, func(i int) { w.accept(w.TryPublish(chat, i)) })
	}},
	{call: "`Publish`", when: "readers wait, and take it", laws: laws{readers: linear, followers: linear}, run: func(w *world) {
		w.loop(w.readers)
		w.loop(w.followers)
		w.count(few, func(i int) { w.accept(w.Publish(background, chat, i)); synctest.Wait() })
	}},
	{call: "`Publish`", when: "readers became full, once", laws: laws{readers: linear, followers: logarithmic}, run: func(w *world) {
		w.publish(w.size[buffer])
		w.count(1, func(i int) { w.accept(w.Publish(background, chat, i)) })
	}},
	{
		call: "`Publish`", when: "readers became full, once, with patience", laws: laws{readers: linear, followers: logarithmic},
		broker: []broadcast.Option{broadcast.WithPatience(10 * time.Millisecond)},
		run: func(w *world) {
			w.publish(w.size[buffer])
			w.count(1, func(i int) { w.accept(w.Publish(background, chat, i)) })
		},
	},
	{call: "`Publish`", when: "readers are stuck", run: func(w *world) {
		overrun(w)
		w.count(few, func(i int) { w.accept(w.Publish(background, chat, i)) })
	}},
	{
		call: "`Publish`", when: "`DropRandom` readers are stuck", laws: laws{readers: linear, followers: linear},
		reader: []broadcast.SubscribeOption{broadcast.WithSampling(broadcast.DropRandom)},
		run: func(w *world) {
			overrun(w)
			w.count(4*w.size[buffer], func(i int) {
				w.accept(w.Publish(background, chat, i))
				synctest.Wait() // what the distributor leaves undone meanwhile depends on the processors
			})
		},
	},
	{
		call: "`Publish`", when: "readers with a sampler are stuck", reader: []broadcast.SubscribeOption{dropsNewest},
		run: func(w *world) {
			w.publish(8 * w.size[readers]) // until each lags as far as it may: the first pieces of a backlog cost most
			overrun(w)
			w.count(few, func(i int) { w.accept(w.Publish(background, chat, i)) })
		},
	},
	{
		call: "`TryPublish`", when: "`Block` readers are full, again",
		reader: []broadcast.SubscribeOption{broadcast.WithSampling(broadcast.Block)},
		run: func(w *world) {
			w.publish(w.size[buffer])
			_ = w.TryPublish(chat, 0) // looks at each reader that became full, once
			w.count(few, func(i int) {
				if w.TryPublish(chat, i) == nil {
					w.Fatal("accepted")
				}
			})
		},
	},
	{call: "`Subscribe`", laws: laws{readers: logarithmic}, run: func(w *world) {
		w.count(few, func(i int) { w.join(chat, "new "+strconv.Itoa(i)) })
	}},
	{call: "`Subscribe`", when: "of a new chat", run: func(w *world) {
		w.count(w.size[chats], func(i int) { w.join("new "+strconv.Itoa(i), "reader") })
	}},
	{call: "`Subscribe`", when: "as a takeover", laws: laws{readers: logarithmic}, run: func(w *world) {
		w.count(few, func(i int) { w.join(chat, w.readers[i].Device()) })
	}},
	{
		call: "`Subscribe`", when: "of a device within `WithLeaveGrace`", laws: laws{readers: logarithmic},
		broker: []broadcast.Option{broadcast.WithLeaveGrace(time.Minute)},
		run: func(w *world) {
			for _, s := range w.readers {
				w.accept(s.Close())
			}
			w.count(few, func(i int) { w.join(chat, w.readers[i].Device()) })
		},
	},
	{call: "`Subscribe`", when: "with `Replay` of all, and one `TryNext`", laws: laws{readers: logarithmic, history: logarithmic}, run: func(w *world) {
		w.count(few, func(i int) { w.join(chat, "new "+strconv.Itoa(i), broadcast.Replay(w.size[history])).TryNext() })
	}},
	{call: "`Subscribe`", when: "with `Resume` of half, and one `TryNext`", laws: laws{readers: logarithmic, history: logarithmic}, run: func(w *world) {
		p := w.readers[0].Position()
		w.publish(w.size[history] / 2)
		w.count(few, func(i int) { w.join(chat, "new "+strconv.Itoa(i), broadcast.Resume(p)).TryNext() })
	}},
	{call: "`Subscribe`", when: "with `Until` of a shared context", laws: laws{readers: logarithmic}, run: func(w *world) {
		w.count(few, func(i int) { w.join(chat, "new "+strconv.Itoa(i), broadcast.Until(w.loops)) })
	}},
	{call: "the end of that context", laws: laws{readers: linear}, run: func(w *world) {
		w.count(1, func(int) { w.until() })
	}},
	{call: "`Subscribe`, `Close`", when: "followers wait, and are told", laws: laws{readers: logarithmic, followers: linear}, run: func(w *world) {
		w.loop(w.followers)
		w.count(few, func(i int) {
			s := w.join(chat, "new "+strconv.Itoa(i))
			synctest.Wait()
			_ = s.Close()
			synctest.Wait()
		})
	}},
	{call: "`Subscribe`", when: "with `WithPresence`", laws: laws{readers: logarithmic, followers: logarithmic}, run: func(w *world) {
		w.count(few, func(i int) { w.join(chat, "new "+strconv.Itoa(i), broadcast.WithPresence()) })
	}},
	{call: "`Subscriber.Close`", laws: laws{readers: logarithmic}, run: func(w *world) {
		w.count(few, func(i int) { _ = w.readers[i].Close() })
	}},
	{call: "`Subscriber.Close`", when: "of a stuck reader", laws: laws{readers: logarithmic}, run: func(w *world) {
		overrun(w)
		w.count(few, func(i int) { _ = w.readers[i].Close() })
	}},
	{call: "`Next`", run: func(w *world) {
		w.publish(few)
		w.count(few, func(int) { _, _ = w.readers[0].Next(background) })
	}},
	{call: "`TryNext`", run: func(w *world) {
		w.publish(few)
		w.count(few, func(int) { w.readers[0].TryNext() })
	}},
	{call: "`NextBatch`", when: "each message of 8", run: func(w *world) {
		into := make([]broadcast.Delivery[int], 8)
		w.publish(few)
		w.countEach(few, func() {
			for range few / len(into) {
				_, err := w.readers[0].NextBatch(background, into)
				w.accept(err)
			}
		})
	}},
	{call: "a loop over `Messages`", when: "each message", run: func(w *world) {
		w.publish(few)
		w.countEach(few, func() {
			n := 0
			for range w.readers[0].Messages(background) {
				if n++; n == few {
					break
				}
			}
		})
	}},
	{call: "a loop over `All`", when: "each message", run: func(w *world) {
		w.publish(few)
		w.countEach(few, func() {
			n := 0
			for range w.readers[0].All(background) {
				if n++; n == few {
					break
				}
			}
		})
	}},
	{call: "`Chan`", when: "each message", run: func(w *world) {
		w.publish(few)
		c := w.readers[0].Chan()
		w.count(few, func(int) { <-c; synctest.Wait() })
	}},
	{call: "`TryNext`", when: "the first of a stuck `DropOldest` reader", laws: laws{history: logarithmic}, run: func(w *world) {
		overrun(w)
		w.count(few, func(i int) { w.readers[i].TryNext() })
	}},
	{call: "`TryNext`", when: "each of a stuck `DropOldest` reader", laws: laws{history: logarithmic}, run: func(w *world) {
		overrun(w)
		w.count(w.size[buffer], func(int) { w.readers[0].TryNext() })
	}},
	{
		call: "`TryNext`", when: "each of a stuck `DropRandom` reader",
		reader: []broadcast.SubscribeOption{broadcast.WithSampling(broadcast.DropRandom)},
		run: func(w *world) {
			overrun(w)
			w.count(w.size[buffer], func(int) { w.readers[0].TryNext() })
		},
	},
	{
		call: "`TryNext`", when: "each of a stuck `DropNewest` reader",
		reader: []broadcast.SubscribeOption{broadcast.WithSampling(broadcast.DropNewest)},
		run: func(w *world) {
			overrun(w)
			w.count(w.size[buffer], func(int) { w.readers[0].TryNext() })
		},
	},
	{call: "`Devices`", laws: laws{readers: sorting, followers: sorting}, run: func(w *world) {
		w.count(1, func(int) { w.Devices(chat) })
	}},
	{call: "`Chats`", laws: laws{chats: sorting}, run: func(w *world) {
		w.count(1, func(int) { w.Chats() })
	}},
	{call: "`Stats`", laws: laws{readers: linear, chats: linear, followers: linear}, run: func(w *world) {
		w.count(1, func(int) { w.Stats() })
	}},
	{call: "`ChatStats`", laws: laws{readers: linear, followers: linear}, run: func(w *world) {
		w.count(1, func(int) { w.ChatStats(chat) })
	}},
	{call: "a loop over `Subscriptions`", laws: laws{readers: linear, followers: linear}, run: func(w *world) {
		w.publish(1)
		w.count(1, func(int) {
			for range w.Subscriptions(chat) {
			}
		})
	}},
	{call: "`Laggards(8)`", when: "all are behind", laws: laws{readers: linear, chats: linear, followers: linear}, run: func(w *world) {
		w.publish(1)
		w.count(1, func(int) { w.Laggards(8) })
	}},
	{call: "`Subscriber.Stats`", run: func(w *world) {
		w.publish(few)
		w.count(few, func(i int) { w.readers[i].Stats() })
	}},
	{call: "`Subscriber.Position`", run: func(w *world) {
		w.publish(few)
		w.count(few, func(i int) { w.readers[i].Position() })
	}},
	{
		call: "a cleaner's visit", when: "readers could stall", laws: laws{readers: linear},
		reader: []broadcast.SubscribeOption{broadcast.WithStallTimeout(1000 * time.Hour)},
		run: func(w *world) {
			w.publish(1)
			w.count(8, func(int) { time.Sleep(15 * time.Minute) })
		},
	},
	{call: "`Kick`", laws: laws{readers: logarithmic}, run: func(w *world) {
		w.count(few, func(i int) { w.Kick(chat, w.readers[i].Device(), nil) })
	}},
	{call: "`EndChat`", laws: laws{readers: linear, followers: linear}, run: func(w *world) {
		w.publish(1)
		w.count(1, func(int) { w.accept(w.EndChat(background, chat, nil)) })
	}},
	{call: "`Forget`", when: "of a chat that nobody reads", laws: laws{history: linear}, run: func(w *world) {
		w.until()
		for _, s := range w.followers {
			w.accept(s.Close())
		}
		synctest.Wait()
		w.count(1, func(int) { w.accept(w.Forget(background, chat)) })
	}},
	{call: "`Shutdown`", laws: laws{readers: linear, chats: linear, followers: linear}, run: func(w *world) {
		w.count(1, func(int) { w.accept(w.Shutdown(background)) })
	}},
	{call: "`Broker.Close`", laws: laws{readers: linear, chats: linear, followers: linear}, run: func(w *world) {
		w.count(1, func(int) { _ = w.Close() })
	}},
}
