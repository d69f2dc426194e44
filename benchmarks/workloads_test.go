package main

import (
	"iter"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/benchmarks/messenger"
	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// Benchmark has every contestant do everything; the tests show that this library can.
func TestEveryWorkloadGivesAllOfItsFigures(t *testing.T) {
	for _, w := range workloads() {
		t.Run(w.Name, func(t *testing.T) {
			ours := w.Cases[0].Contestants[0]
			require.Equal(t, peers.Ours, ours.Kind, "comes first")
			if ours.Skip != "" {
				t.Skip(ours.Skip)
			}
			sample, err := ours.Run(glance)
			require.NoError(t, err)
			for _, m := range w.Metrics {
				assert.Contains(t, sample, m.Name)
			}
		})
	}
}

// badBus loses and repeats messages.
type badBus struct {
	mangle func(seq int64) (times int)
	boxes  []chan Message
}

func bad(mangle func(seq int64) int) peers.Peer[Message] {
	return peers.Peer[Message]{Name: "bad", Open: func(peers.Config) peers.Bus[Message] { return &badBus{mangle: mangle} }}
}

func (b *badBus) Join(_, _ string) iter.Seq[Message] {
	box := make(chan Message, 2000)
	b.boxes = append(b.boxes, box)
	return inbox(box)
}

func (b *badBus) Publisher(string) func(Message) {
	return func(m Message) {
		for _, box := range b.boxes {
			for range b.mangle(m[wordSeq]) {
				box <- m
			}
		}
	}
}

func (b *badBus) Close() {
	for _, box := range b.boxes {
		close(box)
	}
}

var manglings = map[string]func(seq int64) int{
	"loses the third": func(seq int64) int {
		if seq == 3 {
			return 0
		}
		return 1
	},
	"repeats the third": func(seq int64) int {
		if seq == 3 {
			return 2
		}
		return 1
	},
	"loses everything": func(seq int64) int {
		if seq != finish {
			return 0
		}
		return 1
	},
}

// In a bubble, so that it does not take a minute to find out that nothing comes.
func TestAPeerThatLosesOrRepeatsAMessageFails(t *testing.T) {
	for name, mangle := range manglings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := inRounds(bad(mangle), glimpse, peers.Config{Buffer: buffer}, 3, 4)
				require.ErrorIs(t, err, errOrder)
				_, err = inChats(bad(mangle), glimpse, 1, 2, 4)
				require.ErrorIs(t, err, errOrder)
				_, err = besideStuck(bad(mangle), glimpse, 0)
				require.ErrorIs(t, err, errOrder)
				_, err = flood{readers: 3, buffer: 10, messages: 100}.run(bad(mangle), full)
				require.ErrorIs(t, err, errOrder)
				_, err = allocations(bad(mangle), glimpse)
				require.ErrorIs(t, err, errOrder)
			})
		})
	}
}

func TestALossyPeerMayLoseWhatDoesNotFit(t *testing.T) {
	lossy := bad(manglings["loses the third"])
	lossy.Lossy = true
	o, err := flood{readers: 3, buffer: 10, messages: 100}.run(lossy, full)
	require.NoError(t, err)
	assert.Equal(t, 3*99, o.delivered)
	assert.Equal(t, 100, o.published)

	for _, mangling := range []string{"repeats the third", "loses everything"} {
		lossy := bad(manglings[mangling])
		lossy.Lossy = true
		_, err := flood{readers: 3, buffer: 10, messages: 100}.run(lossy, full)
		require.ErrorIs(t, err, errOrder, mangling)
	}
}

func TestFramesHaveNumbers(t *testing.T) {
	text := numberedText(123_456)
	n, err := numberOf([]byte(`{"text":"` + text + `","by":7}`))
	require.NoError(t, err)
	assert.EqualValues(t, 123_456, n)
	for _, frame := range []string{"", `{"text":"`, `{"text":"` + strings.Repeat("x", 20), `{"event":"left","by":7,"chat":1}`} {
		_, err := numberOf([]byte(frame))
		assert.ErrorIs(t, err, errFrame, frame)
	}
}

func TestTheMessengersWork(t *testing.T) {
	for name, room := range map[string]messenger.Room{"hub": messenger.NewHub(), "loop": messenger.NewLoop()} {
		sample, err := messaging(func() (messenger.Room, error) { return room, nil }, glimpse, 3, 2, 0)
		require.NoError(t, err, name)
		assert.Positive(t, sample[messagesPerSecond], name)
	}
}
