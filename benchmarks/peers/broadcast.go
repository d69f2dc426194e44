package peers

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"github.com/fbd86cad/broadcast"
)

// Reading is one of the ways to read a subscription of this library.
type Reading int

// The ways to read.
const (
	ByMessages Reading = iota // for m := range s.Messages(ctx)
	ByAll                     // for d := range s.All(ctx)
	ByNext                    // s.Next(ctx)
)

// Broadcast is this library, under a name that tells how it is configured.
func Broadcast[T any](name string, by Reading, options ...broadcast.Option) Peer[T] {
	return Peer[T]{
		Name:        name,
		Kind:        Ours,
		Cancellable: true,
		Lossy:       true, // when its patience is over
		How:         "this library with its defaults, but for the buffer where a workload names one; read with Messages unless it says otherwise",
		Open:        func(config Config) Bus[T] { return OpenBroadcast[T](config, by, options...) },
	}
}

// BroadcastBus is this library as a Bus.
type BroadcastBus[T any] struct {
	broker *broadcast.Broker[T]
	by     Reading
	ctx    context.Context // of the loops
}

// OpenBroadcast opens this library as a bus. It panics if an option is wrong.
func OpenBroadcast[T any](config Config, by Reading, options ...broadcast.Option) *BroadcastBus[T] {
	broker, err := broadcast.New[T](append([]broadcast.Option{broadcast.WithBuffer(config.Buffer)}, options...)...)
	must(err)
	return &BroadcastBus[T]{broker, by, cmp.Or(config.Context, context.Background())}
}

// Broker returns the broker inside.
func (b *BroadcastBus[T]) Broker() *broadcast.Broker[T] { return b.broker }

// Join implements Bus.
func (b *BroadcastBus[T]) Join(chat, device string) iter.Seq[T] { return b.JoinWith(chat, device) }

// JoinWith is Join with options of this subscription.
func (b *BroadcastBus[T]) JoinWith(chat, device string, options ...broadcast.SubscribeOption) iter.Seq[T] {
	s, err := b.broker.Subscribe(chat, device, options...)
	must(err)
	switch b.by {
	case ByAll:
		return func(yield func(T) bool) {
			for d := range s.All(b.ctx) {
				if !yield(d.Message) {
					return
				}
			}
		}
	case ByNext:
		return func(yield func(T) bool) {
			for {
				d, err := s.Next(b.ctx)
				if err != nil || !yield(d.Message) {
					return
				}
			}
		}
	}
	return s.Messages(b.ctx)
}

// Publisher implements Bus.
func (b *BroadcastBus[T]) Publisher(chat string) func(T) {
	return func(m T) { must(b.broker.Publish(context.Background(), chat, m)) }
}

// Close implements Bus.
func (b *BroadcastBus[T]) Close() { must(b.broker.Close()) }

// must panics: a peer that refuses to work cannot be measured.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("benchmarks: %v", err))
	}
}
