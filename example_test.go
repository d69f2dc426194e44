package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
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
	// Shutdown refuses new messages, and returns when the readers have taken all that were accepted.
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

// must ends an example whose call failed.
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
	// broadcast: invalid: patience -1s is negative
	// buffer 0 is not between 1 and 1048576
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
	must(broker.Subscribe("general", "phone"))

	fmt.Println(broker.TryPublish("general", "fits"))
	fmt.Println(broker.TryPublish("general", "would have to wait a moment for the reader"))
	// Output:
	// <nil>
	// broadcast: overloaded
}

func ExampleBroker_Subscribe() {
	broker := must(broadcast.New[string]())
	defer broker.Close()

	old := must(broker.Subscribe("general", "phone"))
	phone := must(broker.Subscribe("general", "phone")) // takes over, say after the connection was lost
	fmt.Println(old.Err())

	check(old.Close()) // late, and harmless
	publish(broker, "hello")
	show(phone)
	// Output:
	// broadcast: replaced by a newer subscription of the same device
	// hello missed: 0
}

func ExampleBroker_Shutdown() {
	broker := must(broadcast.New[string]())
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "one", "two")

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // how long readers may take
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
	// broadcast: closed
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
	// broadcast: closed
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
	// ended: broadcast: closed
}

func ExampleSubscriber_Messages() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "one", "two", "stop", "four")

	for message := range phone.Messages(context.Background()) {
		if message == "stop" {
			break // what was not handed out still waits
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
			fmt.Println(err) // of ctx, or why the subscription has ended
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

func ExampleSubscriber_Chan() {
	broker := must(broadcast.New[string]())
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	publish(broker, "hello")

	heartbeat := time.NewTicker(time.Minute)
	defer heartbeat.Stop()
	for {
		select {
		case d, ok := <-phone.Chan():
			if !ok {
				fmt.Println("ended:", phone.Err())
				return
			}
			fmt.Println(d.Message)
			check(phone.Close())
		case <-heartbeat.C:
			fmt.Println("still there")
		}
	}
	// Output:
	// hello
	// ended: broadcast: closed
}

func ExampleSubscriber_Done() {
	broker := must(broadcast.New[string]())
	phone := must(broker.Subscribe("general", "phone"))
	go broker.Close()

	<-phone.Done() // for whoever does not read it, such as what pings the connection
	fmt.Println(phone.Err())
	// Output: broadcast: closed
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
	broker := must(broadcast.New[int](broadcast.WithBuffer(3))) // the default of its subscriptions
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
		publish(broker, 1, 2, 3, 4) // waits for the reader
		check(broker.Shutdown(context.Background()))
	}()
	sum := 0
	for message := range ledger.Messages(context.Background()) {
		sum += message
	}
	fmt.Println(sum, "missed:", ledger.Stats().Missed)
	// Output: 10 missed: 0
}

func ExampleWithSampler() {
	type Update struct{ Key, Value string }

	// Only the newest value of each key is of interest: what is older than another one of the same key goes first.
	conflate := func(backlog broadcast.Backlog[Update], next Update) int {
		for i := range backlog.Len() {
			if backlog.At(i).Key == next.Key {
				return i
			}
		}
		return 0 // the oldest
	}
	broker := must(broadcast.New[Update](broadcast.WithSampler(conflate), broadcast.WithBuffer(2)))
	defer broker.Close()
	screen := must(broker.Subscribe("general", "screen"))
	publish(broker, Update{"sun", "3 %"}, Update{"rain", "20 %"}, Update{"rain", "40 %"}, Update{"rain", "95 %"})
	show(screen)
	// Output:
	// {sun 3 %} missed: 0
	// {rain 95 %} missed: 2
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
	// A SharedOption is for a broker, as the default of its subscriptions, and for one subscription alike.
	var lossless broadcast.SharedOption = broadcast.WithSampling(broadcast.Block)

	broker := must(broadcast.New[int](lossless))
	defer broker.Close()
	other := must(broadcast.New[int]())
	defer other.Close()
	must(other.Subscribe("general", "ledger", lossless))
	// Output:
}

func ExampleWithPatience() {
	// Without patience a reader that is full is sampled at once, also one that is only waiting for a processor.
	broker := must(broadcast.New[int](broadcast.WithPatience(0), broadcast.WithBuffer(1)))
	defer broker.Close()
	phone := must(broker.Subscribe("general", "phone"))
	fmt.Println(broker.TryPublish("general", 1), broker.TryPublish("general", 2))
	show(phone)
	// Output:
	// <nil> <nil>
	// 2 missed: 1
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
	publish(broker, 1) // to nobody
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
