package peers

import (
	"iter"

	"tailscale.com/util/eventbus"
)

// tailscaleEventbus is a bus whose topics are Go types. It is made for few readers of many types.
func tailscaleEventbus[T any]() Peer[T] {
	return Peer[T]{
		Name:       "tailscale-eventbus",
		Kind:       Library,
		How:        "tailscale.com/util/eventbus, a Client and a goroutine of its own for each reader; its buffers are without bound",
		MaxReaders: 1_000,
		NoStuck:    "its queues are without bound: a stuck reader would keep every message",
		NoChats:    "its topics are Go types",
		Open:       func(Config) Bus[T] { return &eventBus[T]{eventbus.New()} },
	}
}

type eventBus[T any] struct{ *eventbus.Bus }

func (b *eventBus[T]) Join(_, device string) iter.Seq[T] {
	s := eventbus.Subscribe[T](b.Client(device))
	return func(yield func(T) bool) {
		for {
			select {
			case m := <-s.Events():
				if !yield(m) {
					return
				}
			case <-s.Done():
				return
			}
		}
	}
}

func (b *eventBus[T]) Publisher(string) func(T) {
	return eventbus.Publish[T](b.Client("publisher")).Publish
}
