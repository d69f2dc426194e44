package peers

import (
	"iter"

	"github.com/cskr/pubsub"
)

// cskrPubsub is a goroutine that owns a map of topics to channels, and gets commands through a
// channel.
func cskrPubsub[T any]() Peer[T] {
	return Peer[T]{
		Name: "cskr-pubsub",
		Kind: Library,
		How:  "github.com/cskr/pubsub: Pub waits for slow readers; beside stuck ones TryPub, which skips those that are full",
		Open: func(config Config) Bus[T] { return &cskrBus[T]{pubsub.New(config.Buffer), config.Stuck} },
	}
}

type cskrBus[T any] struct {
	*pubsub.PubSub
	stuck bool
}

func (b *cskrBus[T]) Join(chat, _ string) iter.Seq[T] {
	c := b.Sub(chat)
	return func(yield func(T) bool) {
		for m := range c {
			if !yield(m.(T)) {
				return
			}
		}
	}
}

func (b *cskrBus[T]) Publisher(chat string) func(T) {
	if b.stuck {
		return func(m T) { b.TryPub(m, chat) }
	}
	return func(m T) { b.Pub(m, chat) }
}

func (b *cskrBus[T]) Close() { b.Shutdown() }
