package broadcasttest

import (
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
)

// New returns a broker that is closed in a cleanup when the test ends; the test, or the service,
// may close it earlier. The first New of a test also does what [CheckLeaks] does, after all
// cleanups that are registered later. If an option is invalid, New fails the test at once.
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

// Subscribe returns a subscription that is closed in a cleanup when the test ends; it may end
// earlier. If the broker returns an error, Subscribe fails the test at once.
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

// SubscribeAnonymous is [Subscribe] for a reader without a device.
func SubscribeAnonymous[T any](
	t testing.TB, b *broadcast.Broker[T], chat string, opts ...broadcast.SubscribeOption,
) *broadcast.Subscriber[T] {
	t.Helper()
	s, err := b.SubscribeAnonymous(chat, opts...)
	if err != nil {
		t.Fatalf("an anonymous reader not subscribed to %q: %v", chat, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Stall is [Subscribe] for a reader that takes the first n messages and then stops reading; if n is
// 0, it never takes any. Stall does not block: a goroutine takes the n messages when they come, and
// ends with the last of them or with the subscription. Do not read the subscription elsewhere.
//
// How a stalled reader affects publishers depends on its options, see [broadcast.WithSampling]. A
// buffer of 1 fills up soonest.
func Stall[T any](
	t testing.TB, b *broadcast.Broker[T], chat, device string, n int,
	opts ...broadcast.SubscribeOption,
) *broadcast.Subscriber[T] {
	t.Helper()
	s := Subscribe(t, b, chat, device, opts...)
	if n > 0 {
		go takeSome(s, n)
	}
	return s
}

// lookEvery is the interval at which AwaitDevices and AwaitSubscribers look. Sleeping in between
// lets the fake clock of a bubble advance.
const lookEvery = time.Millisecond

// AwaitDevices waits until exactly n devices are present in a chat, and returns their sorted names,
// as [broadcast.Broker.Devices] does. If n is 0, it waits until all have left. If that takes longer
// than within, it fails the test at once.
//
// It is meant for services that subscribe on goroutines of their own. It looks every millisecond,
// also on the fake clock of a bubble; there, synctest.Wait followed by a duration of 0 takes no
// time at all.
func AwaitDevices[T any](
	t testing.TB, b *broadcast.Broker[T], chat string, n int, within time.Duration,
) []string {
	t.Helper()
	var devices []string
	if !await(within, func() bool { devices = b.Devices(chat); return len(devices) == n }) {
		t.Fatalf("within %v there were not %d devices in %q, but %d: %q; chats with subscribers: %q",
			within, n, chat, len(devices), devices, b.Chats())
	}
	return devices
}

// AwaitSubscribers is [AwaitDevices] for services whose readers are anonymous: it waits until a
// chat has exactly n open subscriptions, with a device or without.
func AwaitSubscribers[T any](
	t testing.TB, b *broadcast.Broker[T], chat string, n int, within time.Duration,
) {
	t.Helper()
	var stats broadcast.ChatStats
	if !await(within, func() bool { stats, _ = b.ChatStats(chat); return stats.Subscribers == n }) {
		t.Fatalf("within %v there were not %d subscribers of %q, but %d; chats with subscribers: %q",
			within, n, chat, stats.Subscribers, b.Chats())
	}
}

// await calls look until it returns true. It returns false if that takes longer than within.
func await(within time.Duration, look func() bool) bool {
	for deadline := time.Now().Add(within); !look(); {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		time.Sleep(min(left, lookEvery))
	}
	return true
}
