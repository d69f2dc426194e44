package peers

import (
	"iter"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// kubernetesWatch is the broadcaster behind the events of Kubernetes: a goroutine that owns a map
// of channels.
func kubernetesWatch[T any]() Peer[T] {
	return Peer[T]{
		Name: "k8s-watch",
		Kind: Library,
		How: "k8s.io/apimachinery/pkg/watch, a Broadcaster for each chat, with WaitIfChannelFull; " +
			"beside stuck readers with DropIfChannelFull, which skips those that are full",
		Open: func(config Config) Bus[T] {
			full := watch.WaitIfChannelFull
			if config.Stuck {
				full = watch.DropIfChannelFull
			}
			return &kubernetesBus[T]{config.Buffer, full, make(map[string]*watch.Broadcaster)}
		},
	}
}

type kubernetesBus[T any] struct {
	buffer int
	full   watch.FullChannelBehavior
	chats  map[string]*watch.Broadcaster
}

// object is a message as the broadcaster wants it.
type object[T any] struct{ message T }

func (o *object[T]) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }
func (o *object[T]) DeepCopyObject() runtime.Object   { return &object[T]{o.message} }

func (b *kubernetesBus[T]) Join(chat, _ string) iter.Seq[T] {
	if b.chats[chat] == nil {
		b.chats[chat] = watch.NewBroadcaster(b.buffer, b.full)
	}
	w, err := b.chats[chat].Watch()
	must(err)
	return func(yield func(T) bool) {
		for event := range w.ResultChan() {
			if !yield(event.Object.(*object[T]).message) {
				return
			}
		}
	}
}

func (b *kubernetesBus[T]) Publisher(chat string) func(T) {
	broadcaster := b.chats[chat]
	return func(m T) { must(broadcaster.Action(watch.Added, &object[T]{m})) }
}

func (b *kubernetesBus[T]) Close() {
	for _, broadcaster := range b.chats {
		broadcaster.Shutdown()
	}
}
