package peers

import (
	"iter"
	"sync"
)

// hub is what many services write by hand: a map of channels under a lock, copied for each message
// so that the lock is not held while sending; a reader that is full loses its oldest message.
func hub[T any]() Peer[T] {
	return Peer[T]{
		Name:        NameHub,
		Kind:        Pattern,
		Cancellable: true,
		How:         "the usual hand-written hub: a map of channels under a mutex, copied for each message, the oldest dropped when a channel is full",
		Lossy:       true,
		Open: func(config Config) Bus[T] {
			return &hubBus[T]{config: config, chats: make(map[string]map[string]chan T)}
		},
	}
}

type hubBus[T any] struct {
	config Config

	mu    sync.RWMutex
	chats map[string]map[string]chan T
}

func (h *hubBus[T]) Join(chat, device string) iter.Seq[T] {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.chats[chat] == nil {
		h.chats[chat] = make(map[string]chan T)
	}
	c := make(chan T, h.config.Buffer)
	h.chats[chat][device] = c
	return received(c, h.config.done())
}

func (h *hubBus[T]) Publisher(chat string) func(T) {
	return func(m T) {
		for _, c := range h.members(chat) {
			sendDroppingOldest(c, m)
		}
	}
}

func (h *hubBus[T]) members(chat string) []chan T {
	h.mu.RLock()
	defer h.mu.RUnlock()
	members := make([]chan T, 0, len(h.chats[chat]))
	for _, c := range h.chats[chat] {
		members = append(members, c)
	}
	return members
}

func sendDroppingOldest[T any](c chan T, m T) {
	for {
		select {
		case c <- m:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}

func (h *hubBus[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, members := range h.chats {
		for _, c := range members {
			close(c)
		}
	}
}
