package peers

import "iter"

// rawChannels is a loop over channels, one for each reader: no lock, no registry, nobody may join
// or leave.
func rawChannels[T any]() Peer[T] {
	return Peer[T]{
		Name:        NameRaw,
		Kind:        Floor,
		Cancellable: true,
		How:         "one channel for each reader and a loop over them, without any lock; beside stuck readers it skips those that are full",
		Open:        func(config Config) Bus[T] { return &rawBus[T]{config: config, chats: make(map[string]*[]chan T)} },
	}
}

type rawBus[T any] struct {
	config Config
	chats  map[string]*[]chan T
}

func (b *rawBus[T]) Join(chat, _ string) iter.Seq[T] {
	c := make(chan T, b.config.Buffer)
	readers := b.chats[chat]
	if readers == nil {
		readers = new([]chan T)
		b.chats[chat] = readers
	}
	*readers = append(*readers, c)
	return received(c, b.config.done())
}

func (b *rawBus[T]) Publisher(chat string) func(T) {
	readers := *b.chats[chat]
	if b.config.Stuck {
		return func(m T) {
			for _, c := range readers {
				select {
				case c <- m:
				default:
				}
			}
		}
	}
	return func(m T) {
		for _, c := range readers {
			c <- m
		}
	}
}

func (b *rawBus[T]) Close() {
	for _, readers := range b.chats {
		for _, c := range *readers {
			close(c)
		}
	}
}

// received is a loop over a channel, which ends also when done is closed, if that is not nil.
func received[T any](c <-chan T, done <-chan struct{}) iter.Seq[T] {
	if done == nil {
		return func(yield func(T) bool) {
			for m := range c {
				if !yield(m) {
					return
				}
			}
		}
	}
	return func(yield func(T) bool) {
		for {
			select {
			case m, ok := <-c:
				if !ok || !yield(m) {
					return
				}
			case <-done:
				return
			}
		}
	}
}
