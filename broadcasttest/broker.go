package broadcasttest

import (
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
)

// New returns a broker that is closed when the test ends, in a cleanup; a test or a service may end it before. The first New of a
// test also does what [CheckLeaks] does, after all cleanups that are registered later. It fails the test at once if an
// option is bad.
func New[T any](t testing.TB, opts ...broadcast.Option) *broadcast.Broker[T] {
	t.Helper()
	b, err := broadcast.New[T](opts...)
	if err != nil {
		t.Fatalf("no broker: %v", err)
	}
	CheckLeaks(t)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// Subscribe returns a subscription that is closed when the test ends, in a cleanup; it may end before. It fails the test at
// once if it is refused.
func Subscribe[T any](
	t testing.TB, b *broadcast.Broker[T], chat, device string, opts ...broadcast.SubscribeOption,
) *broadcast.Subscriber[T] {
	t.Helper()
	s, err := b.Subscribe(chat, device, opts...)
	if err != nil {
		t.Fatalf("%q not subscribed to %q: %v", device, chat, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Stall is [Subscribe] for a reader that takes the first n messages and then nothing more; with n = 0 it never takes anything.
// Stall does not wait: the n messages are taken when they come, by a goroutine that ends with the last of them or with the
// subscription. Do not read the subscription elsewhere.
//
// What a stalled reader does to publishers is up to its options, see [broadcast.WithSampling]: a buffer of 1 is full soonest.
func Stall[T any](
	t testing.TB, b *broadcast.Broker[T], chat, device string, n int, opts ...broadcast.SubscribeOption,
) *broadcast.Subscriber[T] {
	t.Helper()
	s := Subscribe(t, b, chat, device, opts...)
	if n > 0 {
		go takeSome(s, n)
	}
	return s
}

// lookEvery is how often AwaitDevices looks. It sleeps in between, so that the fake clock of a bubble goes on.
const lookEvery = time.Millisecond

// AwaitDevices waits until exactly n devices are present in a chat, and returns them, sorted, as [broadcast.Broker.Devices]
// does. With n = 0 it waits until all have left. If there are not n within that time, the test fails at once.
//
// It is for services that subscribe on goroutines of their own. It looks every millisecond, also on the fake clock of a
// bubble, where synctest.Wait and then a duration of 0 need no time at all.
func AwaitDevices[T any](t testing.TB, b *broadcast.Broker[T], chat string, n int, within time.Duration) []string {
	t.Helper()
	devices := b.Devices(chat)
	for deadline := time.Now().Add(within); len(devices) != n; devices = b.Devices(chat) {
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("within %v there were not %d devices in %q, but %d: %q; chats with subscribers: %q",
				within, n, chat, len(devices), devices, b.Chats())
			return nil
		}
		time.Sleep(min(left, lookEvery))
	}
	return devices
}
