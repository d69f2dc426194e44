package broadcasttest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

// test runs an example as a test, and prints what it fails with.
func test(f func(t testing.TB)) {
	for _, failure := range failuresOf(nil, f) {
		fmt.Println(failure)
	}
}

func Example() {
	test(func(t testing.TB) { // in your test file: func TestX(t *testing.T) {
		b := broadcasttest.New[string](t) // closed when the test ends, and searched for leaks
		guest := broadcasttest.Subscribe(t, b, "meals", "guest")
		go cook(b) // the service: it turns orders into meals
		broadcasttest.AwaitDevices(t, b, "orders", 1, time.Minute)
		_ = b.Publish(t.Context(), "orders", "soup")
		meals := broadcasttest.TakeMessages(t, guest, 1, time.Minute) // or fails with what came instead
		if meals[0] != "hot soup" {
			t.Errorf("the guest got %q", meals)
		}
	})
	// Output:
}

func ExampleNew() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t, broadcast.WithBuffer(64))
		_ = b.Publish(t.Context(), "general", "hello")
		fmt.Println("accepted:", b.Stats().Accepted)
	})
	// Output: accepted: 1
}

func ExampleTake() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		ann := broadcasttest.Subscribe(t, b, "general", "ann", broadcast.WithBuffer(1))
		_ = b.Publish(t.Context(), "general", "hello")
		_ = b.Publish(t.Context(), "general", "goodbye")
		broadcasttest.Take(t, ann, 2, time.Millisecond)
	})
	// Output:
	// took 1 of 2 deliveries within 1ms:
	// 	general #2: "goodbye" (missed before it: 1)
	// the subscription of "ann" to "general" is open: joined after #0, head #2, delivered 1, missed 1, pending 0, discarded 0
}

func ExampleTakeMessages() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		ann := broadcasttest.Subscribe(t, b, "general", "ann")
		_ = b.Publish(t.Context(), "general", "hello")
		_ = b.Publish(t.Context(), "general", "goodbye")
		fmt.Println(broadcasttest.TakeMessages(t, ann, 2, time.Minute))
	})
	// Output: [hello goodbye]
}

func ExampleSilence() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		ann := broadcasttest.Subscribe(t, b, "general", "ann")
		_ = b.Publish(t.Context(), "private", "psst")
		broadcasttest.Silence(t, ann, time.Millisecond) // passes: that was another chat
		_ = b.Close()
		broadcasttest.Silence(t, ann, time.Minute)
	})
	// Output:
	// no silence, but an end:
	// the subscription of "ann" to "general" is ended (broadcast: closed by the broker): joined after #0, head #0, delivered 0, missed 0, pending 0, discarded 0
}

func ExampleAwaitDevices() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		go func() { // a service
			if ann, err := b.Subscribe("general", "ann"); err == nil {
				for range ann.Messages(context.Background()) {
				}
			}
		}()
		fmt.Println(broadcasttest.AwaitDevices(t, b, "general", 1, time.Minute))
		broadcasttest.AwaitDevices(t, b, "general", 0, time.Millisecond)
	})
	// Output:
	// [ann]
	// within 1ms there were not 0 devices in "general", but 1: ["ann"]; chats with subscribers: ["general"]
}

func ExampleStall() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t, broadcast.WithBuffer(1), broadcast.WithPatience(0))
		slow := broadcasttest.Stall(t, b, "general", "ann", 0, broadcast.WithSampling(broadcast.Disconnect))
		for _, text := range []string{"hello", "goodbye"} {
			_ = b.Publish(t.Context(), "general", text)
			fmt.Println(slow.Err())
		}
	})
	// Output:
	// <nil>
	// broadcast: disconnected: too slow
}

func ExampleEqual() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		ann := broadcasttest.Subscribe(t, b, "general", "ann", broadcast.WithBuffer(2))
		for _, text := range []string{"hello", "well", "goodbye"} {
			_ = b.Publish(t.Context(), "general", text)
		}
		broadcasttest.Equal(t, broadcasttest.Take(t, ann, 2, 0), []broadcast.Delivery[string]{
			{Chat: "general", Seq: 2, Missed: 1, Message: "well"},
			{Chat: "general", Seq: 3, Message: "good night"},
		})
	})
	// Output:
	// deliveries differ, - is wanted, + is what came:
	// 	  general #2: "well" (missed before it: 1)
	// 	- general #3: "good night"
	// 	+ general #3: "goodbye"
}

// A service may hand out deliveries in its own way, and lose one: here it keeps to itself what it
// takes to be a secret.
func ExampleLedger() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		ann := broadcasttest.Subscribe(t, b, "general", "ann")
		ledger := broadcasttest.NewLedger(t, ann)
		for _, text := range []string{"hello", "secret", "goodbye"} {
			_ = b.Publish(t.Context(), "general", text)
		}
		_ = b.Close()
		for d := range ann.All(t.Context()) {
			if d.Message != "secret" {
				ledger.Record(d)
			}
		}
		ledger.Check()
	})
	// Output:
	// #3 came after #1 and says that 0 were missed before it, not 1; "ann" in "general" has taken:
	// 	general #1: "hello"
	// 	general #3: "goodbye"
	// messages recorded: 2, taken: 3
	// the subscription of "ann" to "general" is ended (broadcast: closed by the broker): joined after #0, head #3, delivered 3, missed 0, pending 0, discarded 0
}

func ExampleCheckBooks() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		ann := broadcasttest.Subscribe(t, b, "general", "ann", broadcast.WithBuffer(1))
		_ = b.Publish(t.Context(), "general", "hello")
		_ = b.Publish(t.Context(), "general", "goodbye")
		fmt.Printf("%+v\n", broadcasttest.CheckBooks(t, ann))
	})
	// Output: {Delivered:0 Missed:1 Pending:1 Discarded:0 Joined:0 Head:2}
}

func ExampleCheckTotals() {
	test(func(t testing.TB) {
		b := broadcasttest.New[string](t)
		ann := broadcasttest.Subscribe(t, b, "general", "ann")
		_ = b.Publish(t.Context(), "general", "hello")
		_ = b.TryPublish("general", "goodbye")
		broadcasttest.Take(t, ann, 1, 0)
		_ = ann.Close()
		stats := broadcasttest.CheckTotals(t, b, 2, ann)
		fmt.Println("accepted", stats.Accepted, "delivered", stats.Delivered, "discarded", stats.Discarded)
	})
	// Output: accepted 2 delivered 1 discarded 1
}

func ExampleCheckLeaks() {
	test(func(t testing.TB) {
		broadcasttest.CheckLeaks(t)
		b, err := broadcast.New[string]() // a service makes it
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close() // without this the test would fail after 5 seconds, with the stacks of the broker's goroutines
	})
	// Output:
}
