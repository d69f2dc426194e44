// Package broadcasttest helps to test a service that embeds package broadcast: with a broker that ends with the test, and with
// helpers that take what should have come, or fail and say what came instead.
//
//	func TestTheKitchenCooksWhatIsOrdered(t *testing.T) {
//		b := broadcasttest.New[string](t) // closed when the test ends, and searched for leaks
//		guest := broadcasttest.Subscribe(t, b, "meals", "guest")
//		go cook(b) // the service
//		broadcasttest.AwaitDevices(t, b, "orders", 1, time.Minute)
//		if err := b.Publish(t.Context(), "orders", "soup"); err != nil {
//			t.Fatal(err)
//		}
//		meals := broadcasttest.TakeMessages(t, guest, 1, time.Minute)
//		if want := []string{"hot soup"}; !slices.Equal(meals, want) {
//			t.Errorf("the guest got %q, not %q", meals, want)
//		}
//	}
//
// # Time
//
// A duration is the longest that a helper waits: it goes on as soon as it can, so be generous. Only [Silence] passes
// no sooner. A duration of 0 means what is there at this moment.
//
// # In a bubble
//
// Everything works in a bubble of [testing/synctest] too, where waiting costs no real time; make the broker and the contexts
// of its readers inside of it. After synctest.Wait the service has done what it can, so that a duration of 0 does:
//
//	func TestTheKitchenCooksOnce(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			b := broadcasttest.New[string](t)
//			guest := broadcasttest.Subscribe(t, b, "meals", "guest")
//			go cook(b)
//			synctest.Wait() // the kitchen has subscribed
//			if err := b.Publish(t.Context(), "orders", "soup"); err != nil {
//				t.Fatal(err)
//			}
//			synctest.Wait() // the soup is cooked
//			broadcasttest.TakeMessages(t, guest, 1, 0)
//			broadcasttest.Silence(t, guest, 24*time.Hour)
//		})
//	}
//
// # Slow readers
//
// [Stall] subscribes a reader that stops reading, for tests of what the service does when messages do not fit. A [Ledger] is shown
// what was taken from a subscription, in whatever way it was read, and checks that every loss was told. [Equal] compares
// deliveries, which == and reflect.DeepEqual cannot: they carry the identity of their log.
//
// # Leaks
//
// [New] looks for goroutines that are left inside of package broadcast when the test is over. Where the service makes its
// own broker, begin the test with [CheckLeaks]. Whether a service closes its subscriptions shows in [AwaitDevices] for 0.
//
// # Goroutines
//
// Helpers whose test cannot go on end it as t.FailNow does: call them on the goroutine that runs it. A Ledger may be used on any.
package broadcasttest
