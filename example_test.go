package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
)

func Example() {
	broker, err := broadcast.New[string]()
	if err != nil {
		log.Fatal(err)
	}
	var readers sync.WaitGroup
	for _, device := range []string{"phone", "laptop"} {
		subscriber, err := broker.Subscribe("general", device)
		if err != nil {
			log.Fatal(err)
		}
		readers.Go(func() {
			for d := range subscriber.All(context.Background()) {
				fmt.Printf("%s: message %d is %q, %d missed before it\n", device, d.Seq, d.Message, d.Missed)
			}
		})
	}
	for _, text := range []string{"hello", "goodbye"} {
		if err := broker.Publish(context.Background(), "general", text); err != nil {
			log.Fatal(err)
		}
	}
	// Shutdown refuses new messages, and returns when the readers have taken all accepted ones.
	if err := broker.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	readers.Wait()
	// Unordered output:
	// phone: message 1 is "hello", 0 missed before it
	// phone: message 2 is "goodbye", 0 missed before it
	// laptop: message 1 is "hello", 0 missed before it
	// laptop: message 2 is "goodbye", 0 missed before it
}

// must returns the result of a call that must not fail.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// publish publishes messages in the chat that most examples use.
func publish[T any](broker *broadcast.Broker[T], messages ...T) {
	for _, message := range messages {
		check(broker.Publish(context.Background(), "general", message))
	}
}

// show prints what waits for a subscriber, and what was missed before it.
func show[T any](subscriber *broadcast.Subscriber[T]) {
	for d, ok := subscriber.TryNext(); ok; d, ok = subscriber.TryNext() {
		fmt.Println(d.Message, "missed:", d.Missed)
	}
}

func ExampleNew() {
	broker, err := broadcast.New[string](
		broadcast.WithBuffer(64),
		broadcast.WithSampling(broadcast.Disconnect),
		broadcast.WithMaxSubscribers(1000),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()

	_, err = broadcast.New[string](broadcast.WithBuffer(0), broadcast.WithPatience(-time.Second))
	fmt.Println(errors.Is(err, broadcast.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// broadcast: invalid: buffer 0 is not between 1 and 1048576
	// patience -1s is negative
}

func ExampleBroker() {
	type Score struct{ Home, Away int }
	broker := must(broadcast.New[Score]())
	defer broker.Close()
	screen := must(broker.Subscribe("final", "screen in the lobby"))

	check(broker.Publish(context.Background(), "final", Score{1, 0}))
	check(broker.Publish(context.Background(), "nobody watches this", Score{0, 0}))

	d := must(screen.Next(context.Background()))
	fmt.Println(d.Chat, d.Seq, d.Message.Home, ":", d.Message.Away)
	fmt.Println(broker.Chats(), broker.Devices("final"))
	// Output:
	// final 1 1 : 0
	// [final] [screen in the lobby]
}

func ExampleBroker_Publish() {
	broker := must(broadcast.New[string](broadcast.WithPublishTimeout(20 * time.Millisecond)))
	defer broker.Close()
	must(broker.Subscribe("general", "full", broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block)))

	for _, message := range []string{"one", "two"} {
		switch err := broker.Publish(context.Background(), "general", message); {
		case err == nil:
			fmt.Println(message, "was accepted: every reader gets it, within its strategy")
		case errors.Is(err, broadcast.ErrOverloaded):
			fmt.Println(message, "was refused: nobody will ever get it")
		}
	}
	// Output:
	// one was accepted: every reader gets it, within its strategy
	// two was refused: nobody will ever get it
}

func ExampleBroker_TryPublish() {
	broker := must(broadcast.New[string](broadcast.WithBuffer(1)))
	defer broker.Close()
	must(broker.Subscribe("general", "ledger", broadcast.WithSampling(broadcast.Block)))

	fmt.Println(broker.TryPublish("general", "fits"))
	fmt.Println(broker.TryPublish("general", "would have to wait for the reader"))
	// Output:
	// <nil>
	// broadcast: overloaded
}

func ExampleBroker_Subscribe() {
	broker := must(broadcast.New[string]())
	defer broker.Close()

	old := must(broker.Subscribe("general", "phone"))
	phone := must(broker.Subscribe("general", "phone")) // takes over after a reconnect
	fmt.Println(old.Err())

	check(old.Close()) // does not affect the new subscription
	publish(broker, "hello")
	show(phone)
	// Output:
	// broadcast: replaced by a newer subscription of the same device
	// hello missed: 0
}

// Viewers that nobody tells apart need no device.
func ExampleBroker_SubscribeAnonymous() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	must(broker.Subscribe("general", "phone"))
	first := must(broker.SubscribeAnonymous("general"))
	second := must(broker.SubscribeAnonymous("general")) // does not take over from the first

	publish(broker, "hello")
	show(first)
	show(second)
	fmt.Println(broker.Devices("general"), broker.Stats().Subscribers)
	// Output:
	// hello missed: 0
	// hello missed: 0
	// [phone] 3
}

func ExampleBroker_Shutdown() {
	broker := must(broadcast.New[string]())
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "one", "two")

	// Give readers ten seconds.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- broker.Shutdown(ctx) }()

	for message := range phone.Messages(context.Background()) {
		fmt.Println(message)
	}
	fmt.Println(<-done)
	fmt.Println(phone.Err())
	// Output:
	// one
	// two
	// <nil>
	// broadcast: closed by the broker
}

func ExampleBroker_Close() {
	broker := must(broadcast.New[string]())
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "what is buffered stays readable")

	check(broker.Close())
	fmt.Println(broker.TryPublish("general", "too late"))
	for message := range phone.Messages(context.Background()) {
		fmt.Println(message)
	}
	// Output:
	// broadcast: closed by the broker
	// what is buffered stays readable
}

func ExampleSubscriber() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	fmt.Println(phone.Chat(), phone.Device(), phone.Err())

	check(phone.Close())
	<-phone.Done()
	fmt.Println(phone.Err())
	// Output:
	// general phone <nil>
	// broadcast: closed
}

func ExampleSubscriber_All() {
	broker := must(broadcast.New[string]())
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "one", "two")
	check(broker.Close())

	for d := range phone.All(context.Background()) {
		fmt.Println(d.Seq, d.Message)
	}
	fmt.Println("ended:", phone.Err()) // nil if the context had stopped the loop
	// Output:
	// 1 one
	// 2 two
	// ended: broadcast: closed by the broker
}

func ExampleSubscriber_Messages() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "one", "two", "stop", "four")

	for message := range phone.Messages(context.Background()) {
		if message == "stop" {
			break // the remaining messages stay in the buffer
		}
		fmt.Println(message)
	}
	show(phone)
	// Output:
	// one
	// two
	// four missed: 0
}

func ExampleSubscriber_Next() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "hello")

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	for {
		d, err := phone.Next(ctx)
		if err != nil {
			fmt.Println(err) // ctx.Err(), or why the subscription ended
			return
		}
		fmt.Println(d.Message)
	}
	// Output:
	// hello
	// context deadline exceeded
}

func ExampleSubscriber_TryNext() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "hello")

	for range 2 {
		d, ok := phone.TryNext()
		fmt.Printf("%q %v\n", d.Message, ok)
	}
	// Output:
	// "hello" true
	// "" false
}

func ExampleSubscriber_NextBatch() {
	broker := must(broadcast.New[int]())
	defer broker.Close()
	archive := must(broker.Subscribe("general", "archive"))
	publish(broker, 1, 2, 3, 4, 5)

	batch := make([]broadcast.Delivery[int], 3)
	for range 2 {
		n, err := archive.NextBatch(context.Background(), batch)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("writing", n, "at once, from", batch[0].Message)
	}
	// Output:
	// writing 3 at once, from 1
	// writing 2 at once, from 4
}

func ExampleSubscriber_TryNextBatch() {
	broker := must(broadcast.New[int]())
	defer broker.Close()
	archive := must(broker.Subscribe("general", "archive"))
	publish(broker, 1, 2, 3, 4, 5)

	// Wait for a message with Next, and then take what else is there, as long as it fits.
	first, err := archive.Next(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	batch := make([]broadcast.Delivery[int], 10)
	n := archive.TryNextBatch(batch)
	fmt.Println(first.Message, "and", n, "more")
	// Output:
	// 1 and 4 more
}

func ExampleSubscriber_Chan() {
	broker := must(broadcast.New[string]())
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "hello", "goodbye")

	heartbeat := time.NewTicker(time.Minute)
	defer heartbeat.Stop()
	for {
		select {
		case d, ok := <-phone.Chan():
			if !ok { // the subscription has ended, but what was buffered can still be read
				for d, ok := phone.TryNext(); ok; d, ok = phone.TryNext() {
					fmt.Println("left:", d.Message)
				}
				fmt.Println("ended:", phone.Err())
				return
			}
			fmt.Println(d.Message)
			check(broker.Close())
		case <-heartbeat.C:
			fmt.Println("still there")
		}
	}
	// Output:
	// hello
	// left: goodbye
	// ended: broadcast: closed by the broker
}

// A job publishes its log. Who comes while it runs, or soon after, gets the log from its beginning,
// and then how the job has ended.
func ExampleBroker_EndChat() {
	ctx := context.Background()
	broker := must(broadcast.New[string](broadcast.WithHistory(1000, 0)))
	defer broker.Close()
	show := func(s *broadcast.Subscriber[string]) {
		for line := range s.Messages(ctx) {
			fmt.Printf("%s: %s\n", s.Device(), line)
		}
		fmt.Printf("%s: %v\n", s.Device(), s.Err())
	}

	early := must(broker.Subscribe("job 7", "early", broadcast.Replay(1000)))
	check(broker.Publish(ctx, "job 7", "compiling"))
	check(broker.Publish(ctx, "job 7", "linking"))
	check(broker.EndChat(ctx, "job 7", errors.New("exit status 2")))
	show(early)
	show(must(broker.Subscribe("job 7", "late", broadcast.Replay(1000))))

	fmt.Println(errors.Is(broker.Publish(ctx, "job 7", "running"), broadcast.ErrEnded))
	// Output:
	// early: compiling
	// early: linking
	// early: broadcast: chat ended: exit status 2
	// late: compiling
	// late: linking
	// late: broadcast: chat ended: exit status 2
	// true
}

func ExampleBroker_Forget() {
	broker := must(broadcast.New[string](broadcast.WithHistory(10, 0)))
	defer broker.Close()
	check(broker.Publish(context.Background(), "general", "a secret"))
	check(broker.Forget(context.Background(), "general"))

	_, ok := must(broker.Subscribe("general", "phone", broadcast.Replay(10))).TryNext()
	fmt.Println(ok)
	// Output: false
}

func ExampleBroker_Kick() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	loggedOut := errors.New("logged out")
	fmt.Println(broker.Kick("general", "phone", loggedOut), broker.Kick("general", "laptop", loggedOut))

	_, err := phone.Next(context.Background())
	fmt.Println(err)
	// Output:
	// true false
	// logged out
}

func ExampleSubscriber_Done() {
	broker := must(broadcast.New[string]())
	phone := must(broker.Subscribe("general", "phone"))
	go broker.Close()

	<-phone.Done() // for goroutines that do not read, such as one that pings the connection
	fmt.Println(phone.Err())
	// Output: broadcast: closed by the broker
}

func ExampleDelivery() {
	broker := must(broadcast.New[string](broadcast.WithBuffer(2)))
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "one", "two", "three", "four")

	d := must(phone.Next(context.Background()))
	fmt.Printf("%d messages are lost, message %d in %s is %q\n", d.Missed, d.Seq, d.Chat, d.Message)
	// Output: 2 messages are lost, message 3 in general is "three"
}

func ExampleWithBuffer() {
	broker := must(broadcast.New[int](broadcast.WithBuffer(3))) // the default for subscriptions
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	archive := must(broker.Subscribe("general", "archive", broadcast.WithBuffer(1000)))
	publish(broker, 1, 2, 3, 4, 5)
	fmt.Println(phone.Stats().Pending, archive.Stats().Pending)
	// Output: 3 5
}

func ExampleWithSampling_dropOldest() {
	broker := must(broadcast.New[int]())
	defer broker.Close()
	dashboard := must(broker.Subscribe("general", "dashboard", broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.DropOldest)))
	publish(broker, 1, 2, 3, 4)
	show(dashboard)
	// Output:
	// 3 missed: 2
	// 4 missed: 0
}

func ExampleWithSampling_dropNewest() {
	broker := must(broadcast.New[int]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone", broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.DropNewest)))
	publish(broker, 1, 2, 3, 4)
	show(phone)
	publish(broker, 5)
	show(phone)
	// Output:
	// 1 missed: 0
	// 2 missed: 0
	// 5 missed: 2
}

func ExampleWithSampling_dropRandom() {
	broker := must(broadcast.New[int]())
	defer broker.Close()
	survey := must(broker.Subscribe("general", "survey", broadcast.WithBuffer(10), broadcast.WithSampling(broadcast.DropRandom)))
	for i := range 1000 {
		publish(broker, i)
	}
	fmt.Printf("%+v\n", survey.Stats())
	// Output: {Delivered:0 Missed:990 Pending:10 Discarded:0 Joined:0 Head:1000}
}

func ExampleWithSampling_disconnect() {
	broker := must(broadcast.New[int]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone", broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.Disconnect)))
	publish(broker, 1, 2, 3, 4)
	for d := range phone.All(context.Background()) {
		fmt.Println(d.Message)
	}
	fmt.Println(phone.Err())
	// Output:
	// 1
	// 2
	// broadcast: disconnected: too slow
}

func ExampleWithSampling_block() {
	broker := must(broadcast.New[int]())
	ledger := must(broker.Subscribe("general", "ledger", broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.Block)))
	go func() {
		publish(broker, 1, 2, 3, 4) // blocks while the reader has no room
		check(broker.Shutdown(context.Background()))
	}()
	sum := 0
	for message := range ledger.Messages(context.Background()) {
		sum += message
	}
	fmt.Println(sum, "missed:", ledger.Stats().Missed)
	// Output: 10 missed: 0
}

func ExampleBacklog() {
	keepLongest := func(backlog broadcast.Backlog[string], next string) int {
		drop, shortest := backlog.Len(), next // backlog.Len() stands for the new message
		for i := range backlog.Len() {
			if message := backlog.At(i); len(message) < len(shortest) {
				drop, shortest = i, message
			}
		}
		return drop
	}
	broker := must(broadcast.New[string]())
	defer broker.Close()
	digest := must(broker.Subscribe("general", "digest", broadcast.WithBuffer(2), broadcast.WithSampler(keepLongest)))
	publish(broker, "the first", "no", "a much longer one", "ok")
	show(digest)
	// Output:
	// the first missed: 0
	// a much longer one missed: 1
}

func ExamplePanicError() {
	broker := must(broadcast.New[int](broadcast.WithBuffer(1)))
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone", broadcast.WithSampler(
		func(backlog broadcast.Backlog[int], _ int) int { return backlog.At(0) / (backlog.Len() - 1) })))
	publish(broker, 1, 2)

	_, err := phone.Next(context.Background())
	var reason *broadcast.PanicError
	fmt.Println(errors.As(err, &reason))
	fmt.Println(reason)
	fmt.Println(len(reason.Stack) > 0)
	// Output:
	// true
	// broadcast: sampler panicked: runtime error: integer divide by zero
	// true
}

func ExampleSampling() {
	strategies := []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom, broadcast.Disconnect, broadcast.Block}
	fmt.Println(strategies)
	// Output: [DropOldest DropNewest DropRandom Disconnect Block]
}

func ExampleSharedOption() {
	// A SharedOption sets the default of a broker, or applies to a single subscription.
	var lossless broadcast.SharedOption = broadcast.WithSampling(broadcast.Block)

	broker := must(broadcast.New[int](lossless))
	defer broker.Close()
	other := must(broadcast.New[int]())
	defer other.Close()
	must(other.Subscribe("general", "ledger", lossless))
	// Output:
}

func ExampleWithPatience() {
	// Without patience, the strategy of a full reader acts at once, even if the reader only waits
	// for a CPU.
	broker := must(broadcast.New[int](broadcast.WithPatience(0), broadcast.WithBuffer(1)))
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	fmt.Println(broker.TryPublish("general", 1), broker.TryPublish("general", 2))
	show(phone)
	// Output:
	// <nil> <nil>
	// 2 missed: 1
}

// Chats of orders keep what was published, and the others do not.
func ExampleWithChat() {
	broker := must(broadcast.New[string](broadcast.WithChat(func(chat string) []broadcast.ChatOption {
		if strings.HasPrefix(chat, "order/") {
			return []broadcast.ChatOption{
				broadcast.WithHistory(100, time.Hour),
				broadcast.WithSampling(broadcast.Disconnect),
			}
		}
		return nil
	})))
	defer broker.Close()
	ctx := context.Background()
	check(broker.Publish(ctx, "order/7", "paid"))
	check(broker.Publish(ctx, "weather", "sunny"))

	show(must(broker.Subscribe("order/7", "browser", broadcast.Replay(100))))
	show(must(broker.Subscribe("weather", "browser", broadcast.Replay(100))))
	// Output:
	// paid missed: 0
}

func ExampleWithPublishTimeout() {
	broker := must(broadcast.New[int](broadcast.WithPublishTimeout(50*time.Millisecond), broadcast.WithBuffer(1)))
	defer broker.Close()
	must(broker.Subscribe("general", "stuck", broadcast.WithSampling(broadcast.Block)))
	publish(broker, 1)

	start := time.Now()
	err := broker.Publish(context.Background(), "general", 2)
	fmt.Println(err, time.Since(start) >= 50*time.Millisecond)
	// Output: broadcast: overloaded true
}

func ExampleWithStallTimeout() {
	broker := must(broadcast.New[int](broadcast.WithStallTimeout(20*time.Millisecond), broadcast.WithCleanInterval(time.Millisecond)))
	defer broker.Close()
	quiet := must(broker.Subscribe("quiet", "phone"))
	stuck := must(broker.Subscribe("general", "phone"))
	publish(broker, 1)

	<-stuck.Done()
	fmt.Println(stuck.Err())
	fmt.Println(quiet.Err()) // nothing was waiting for it
	// Output:
	// broadcast: disconnected: stalled
	// <nil>
}

func ExampleWithMaxSubscribers() {
	broker := must(broadcast.New[int](broadcast.WithMaxSubscribers(2)))
	defer broker.Close()
	for _, device := range []string{"phone", "laptop", "watch", "phone"} {
		_, err := broker.Subscribe("general", device)
		fmt.Println(device, errors.Is(err, broadcast.ErrLimit))
	}
	// Output:
	// phone false
	// laptop false
	// watch true
	// phone false
}

func ExampleWithLogger() {
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime}))

	broker := must(broadcast.New[int](broadcast.WithLogger(logger)))
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	check(phone.Close())
	// Output:
	// level=DEBUG msg="broadcast: subscribed" chat=general device=phone
	// level=DEBUG msg="broadcast: subscription ended" reason="broadcast: closed" chat=general device=phone
}

func ExampleUntil() {
	errLoggedOut := errors.New("logged out")
	broker := must(broadcast.New[string]())
	defer broker.Close()

	session, end := context.WithCancelCause(context.Background())
	phone := must(broker.Subscribe("general", "phone", broadcast.Until(session)))
	end(errLoggedOut)

	_, err := phone.Next(context.Background())
	fmt.Println(err)
	// Output: logged out
}

func ExampleStats() {
	broker := must(broadcast.New[int](broadcast.WithBuffer(2)))
	defer broker.Close()
	reads, stuck := must(broker.Subscribe("general", "reads")), must(broker.Subscribe("general", "stuck"))
	for i := range 5 {
		publish(broker, i)
		must(reads.Next(context.Background()))
	}
	check(stuck.Close())

	stats := broker.Stats()
	fmt.Println("open:", stats.Chats, stats.Subscribers)
	fmt.Println("calls of Publish:", stats.Accepted, "+", stats.Rejected)
	fmt.Println("2 readers of 5 messages:", stats.Delivered, "+", stats.Missed, "+", stats.Pending, "+", stats.Discarded)
	// Output:
	// open: 1 1
	// calls of Publish: 5 + 0
	// 2 readers of 5 messages: 5 + 3 + 0 + 2
}

func ExampleSubscriberStats() {
	broker := must(broadcast.New[int](broadcast.WithBuffer(2)))
	defer broker.Close()
	publish(broker, 1) // the chat has no subscriber yet
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, 2, 3, 4, 5)
	must(phone.Next(context.Background()))

	stats := phone.Stats()
	fmt.Printf("%+v\n", stats)
	fmt.Println(stats.Head-stats.Joined == stats.Delivered+stats.Missed+stats.Pending+stats.Discarded)
	// Output:
	// {Delivered:1 Missed:2 Pending:1 Discarded:0 Joined:0 Head:4}
	// true
}

// Who is furthest behind, and what becomes of it?
func ExampleBroker_Laggards() {
	broker := must(broadcast.New[int](broadcast.WithBuffer(4), broadcast.WithPatience(0)))
	defer broker.Close()
	for _, device := range []string{"phone", "laptop", "tablet"} {
		must(broker.Subscribe("general", device))
	}
	publish(broker, 1, 2, 3)
	must(broker.Subscribe("general", "watch", broadcast.WithBuffer(1)))
	publish(broker, 4, 5)

	for _, s := range broker.Laggards(2) {
		fmt.Printf("%s in %s is %s: %d of %d wait, %d missed\n",
			s.Device, s.Chat, s.State, s.Pending, s.Buffer, s.Missed)
	}
	// Output:
	// laptop in general is losing: 4 of 4 wait, 1 missed
	// phone in general is losing: 4 of 4 wait, 1 missed
}

func ExampleBroker_Subscriptions() {
	broker := must(broadcast.New[int]())
	defer broker.Close()
	must(broker.Subscribe("general", "phone"))
	publish(broker, 1, 2)
	for s := range broker.Subscriptions("general") {
		fmt.Println(s.Device, s.Strategy, s.State, s.Pending)
	}
	// Output: phone DropOldest reading 2
}

func ExampleBroker_ChatStats() {
	broker := must(broadcast.New[int](broadcast.WithBuffer(2), broadcast.WithPatience(0)))
	defer broker.Close()
	must(broker.Subscribe("general", "phone"))
	publish(broker, 1, 2, 3)
	stats, ok := broker.ChatStats("general")
	fmt.Println(ok, stats.Subscribers, stats.Accepted, stats.Pending, stats.Missed)
	// Output: true 1 3 2 1
}

// A page shows what was published so far, and then follows the chat without a gap.
func ExampleBroker_Head() {
	b, err := broadcast.New[string](broadcast.WithHistory(100, 0))
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	_ = b.Publish(ctx, "orders", "order 1")

	head, err := b.Head(ctx, "orders") // first the position, then the page
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("page: order 1")
	_ = b.Publish(ctx, "orders", "order 2")

	s, err := b.Subscribe("orders", "browser", broadcast.Resume(head))
	if err != nil {
		log.Fatal(err)
	}
	d, err := s.Next(ctx)
	fmt.Println(d.Message, err, s.Recovered())
	// Output:
	// page: order 1
	// order 2 <nil> true
}
