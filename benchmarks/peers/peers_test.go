package peers_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const deadline = 30 * time.Second

func chatName(i int) string { return fmt.Sprintf("chat %d", i) }

// within fails the test if f takes too long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(deadline):
		t.Fatalf("%s: not after %v", what, deadline)
	}
}

func all() []peers.Peer[int] {
	return append(peers.All[int](),
		peers.Broadcast[int]("broadcast, All", peers.ByAll),
		peers.Broadcast[int]("broadcast, Next", peers.ByNext))
}

func TestEveryReaderGetsEveryMessageOfItsChatOnceAndInOrder(t *testing.T) {
	const readers, messages = 3, 50
	for _, p := range all() {
		t.Run(p.Name, func(t *testing.T) {
			chats := 2
			if p.NoChats != "" {
				chats = 1
			}
			bus := p.Open(peers.Config{Buffer: messages})
			got := make([][]int, chats*readers)
			var enough, all sync.WaitGroup
			for c := range chats {
				for r := range readers {
					seq, i := bus.Join(chatName(c), fmt.Sprint(r)), c*readers+r
					enough.Add(1)
					all.Go(func() {
						for m := range seq {
							if got[i] = append(got[i], m); len(got[i]) == messages {
								enough.Done()
							}
						}
					})
				}
			}
			within(t, "publishing", func() {
				for c := range chats {
					publish := bus.Publisher(chatName(c))
					for m := range messages {
						publish(1000*c + m)
					}
				}
			})
			within(t, "reading", enough.Wait)
			bus.Close()
			within(t, "the ends of the loops", all.Wait)
			for c := range chats {
				var want []int
				for m := range messages {
					want = append(want, 1000*c+m)
				}
				for r := range readers {
					assert.Equalf(t, want, got[c*readers+r], "chat %d, reader %d", c, r)
				}
			}
		})
	}
}

// A peer that says it can live with stuck readers does: the publisher goes on, and the healthy
// reader gets what fits its buffer.
func TestAStuckReaderStopsNobody(t *testing.T) {
	const buffer = 8
	for _, p := range all() {
		if p.NoStuck != "" {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			bus := p.Open(peers.Config{Buffer: buffer, Stuck: true})
			bus.Join(chatName(0), "stuck")
			seq := bus.Join(chatName(0), "healthy")
			got := make(chan int, buffer)
			var reader sync.WaitGroup
			reader.Go(func() {
				for m := range seq {
					got <- m
				}
			})
			publish := bus.Publisher(chatName(0))
			for i := range 10 * buffer {
				within(t, "publishing", func() { publish(i) })
				within(t, "reading", func() { assert.Equal(t, i, <-got) })
			}
			bus.Close()
			within(t, "the end of the loop", reader.Wait)
		})
	}
}

func TestLoopsOfCancellablePeersEndWithTheContext(t *testing.T) {
	cancellable := 0
	for _, p := range all() {
		if !p.Cancellable {
			continue
		}
		cancellable++
		t.Run(p.Name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			bus := p.Open(peers.Config{Buffer: 10, Context: ctx})
			seq := bus.Join(chatName(0), "device")
			bus.Publisher(chatName(0))(7)
			var loop sync.WaitGroup
			loop.Go(func() {
				for m := range seq {
					assert.Equal(t, 7, m)
					cancel()
				}
			})
			within(t, "the end of the loop", loop.Wait)
			bus.Close()
		})
	}
	assert.Positive(t, cancellable)
}

func TestEveryPeerSaysHowItIsUsed(t *testing.T) {
	names := make(map[string]bool)
	for _, p := range peers.All[int]() {
		assert.NotEmpty(t, p.How, p.Name)
		assert.False(t, names[p.Name], p.Name)
		names[p.Name] = true
	}
}
