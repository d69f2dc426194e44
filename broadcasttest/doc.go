// Package broadcasttest helps to test services that use package broadcast. It provides a broker
// that is closed when the test ends, and helpers that take the expected messages, or else fail and
// show what came instead.
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
// The duration given to a helper is the longest that it waits: it returns as soon as it can, so be
// generous. Only [Silence] always waits that long. With a duration of 0 a helper considers only
// what is there at the moment.
//
// # In a bubble
//
// All helpers work in a bubble of [testing/synctest] too, where waiting costs no real time. Create
// the broker and the contexts of its readers inside the bubble. After synctest.Wait the service has
// done all it can, so a duration of 0 is enough:
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
// [Stall] subscribes a reader that stops reading, to test what the service does when messages do
// not fit. A [Ledger] checks everything that was taken from a subscription, however it was read,
// and that every loss was reported. [Equal] compares deliveries, which == and reflect.DeepEqual
// cannot, because deliveries carry the identity of their log.
//
// # Leaks
//
// [New] checks that no goroutine is left inside package broadcast when the test ends. If the
// service makes its own broker, begin the test with [CheckLeaks]. To check that a service closes
// its subscriptions, use [AwaitDevices] with n = 0, or [AwaitSubscribers] if they are anonymous.
//
// # Goroutines
//
// Helpers that fail the test at once call t.FailNow: call them from the goroutine that runs the
// test. The methods of a Ledger may be called from any goroutine.
package broadcasttest
