package main

import (
	"iter"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inbox is a reader's loop over messages that a test sends.
func inbox(c <-chan Message) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for m := range c {
			if !yield(m) {
				return
			}
		}
	}
}

// crowdOf returns a crowd whose readers are sent messages by the test, and a function that ends it.
func crowdOf(t *testing.T, readers, share int) (*crowd, []chan Message) {
	c := newCrowd()
	var inboxes []chan Message
	for range readers {
		ch := make(chan Message, 10)
		inboxes = append(inboxes, ch)
		c.add(inbox(ch), share)
	}
	t.Cleanup(func() {
		for _, ch := range inboxes {
			close(ch)
		}
		c.goroutines.Wait()
	})
	return c, inboxes
}

func TestARoundIsOverWhenAllHaveTheirShare(t *testing.T) {
	c, inboxes := crowdOf(t, 3, 2)
	seq := int64(0)
	took, err := c.repeat(4, func() {
		for range 2 {
			seq++
			for _, ch := range inboxes {
				ch <- Message{wordSeq: seq}
			}
		}
	})
	require.NoError(t, err)
	assert.Positive(t, took)
	assert.EqualValues(t, 8, seq)
}

func TestARoundFailsIfAMessageIsNotTheNextOne(t *testing.T) {
	for name, messages := range map[string][]int64{"lost": {1, 3}, "duplicated": {1, 1}, "out of order": {2, 1}} {
		t.Run(name, func(t *testing.T) {
			c, inboxes := crowdOf(t, 1, 2)
			_, err := c.repeat(1, func() {
				for _, seq := range messages {
					inboxes[0] <- Message{wordSeq: seq}
				}
			})
			require.ErrorIs(t, err, errOrder)
		})
	}
}

func TestWarmingUpDoesAsManyRoundsAsItMust(t *testing.T) {
	c, inboxes := crowdOf(t, 1, 1)
	rounds := int64(0)
	next, err := c.warmUp(glimpse, 5, func() {
		rounds++
		inboxes[0] <- Message{wordSeq: rounds}
	})
	require.NoError(t, err)
	assert.EqualValues(t, 5, rounds)
	assert.Positive(t, next)
}
