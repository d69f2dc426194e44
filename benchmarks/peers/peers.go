// Package peers puts ways to broadcast inside a process behind one interface, so that the same work
// can be given to each. Every one is used as its documentation recommends: each in its own way to
// publish, and read with its own kind of loop.
package peers

import (
	"context"
	"iter"
)

// Bus carries the messages of chats to those who joined them. Join and Close are not called while
// somebody publishes.
type Bus[T any] interface {
	// Join subscribes a device to a chat. What it returns is the loop in which one goroutine reads:
	// it waits for messages, and ends after Close. A reader that is never ranged over is one that
	// is stuck.
	Join(chat, device string) iter.Seq[T]

	// Publisher returns the function that publishes in a chat. It is asked for once, after all have
	// joined. The function may be called by one goroutine at a time; those of different chats by
	// several.
	Publisher(chat string) func(T)

	// Close ends the loops of all readers, and may drop what they have not read.
	Close()
}

// Config is what a workload asks of a bus.
type Config struct {
	Buffer int  // how many messages a reader may be behind
	Stuck  bool // some readers stop reading for good, and the others are to get something all the same

	// Context is what loops are to end with as well; nil if nothing. Only peers that say so heed
	// it.
	Context context.Context
}

// done returns the channel that loops wait for beside that of their messages, nil if there is none.
func (c Config) done() <-chan struct{} {
	if c.Context == nil {
		return nil
	}
	return c.Context.Done()
}

// Kind says what a peer is.
type Kind int

// The kinds of peers.
const (
	Ours    Kind = iota // the library that this repository is about
	Floor               // what the language gives: channels, and a loop over them
	Pattern             // what people write by hand
	Library             // what people import
)

// Peer is one way to broadcast.
type Peer[T any] struct {
	Name string
	Kind Kind
	How  string // how it is used here

	// Lossy says that readers which keep reading may lose messages when the publisher is faster
	// than they are.
	Lossy bool

	MaxReaders int // how many readers it can be given in reasonable time; 0 if any number

	Cancellable bool // heeds Config.Context

	NoStuck string // why it cannot be used where readers are stuck, if so
	NoChats string // why it cannot be used for many chats, if so

	Open func(Config) Bus[T]
}

// The names by which results are compared.
const (
	NameOurs = "broadcast"
	NameRaw  = "raw-channels"
	NameHub  = "hub"
)

// All returns the peers, ours first.
func All[T any]() []Peer[T] {
	return []Peer[T]{
		Broadcast[T](NameOurs, ByMessages),
		rawChannels[T](),
		hub[T](),
		cskrPubsub[T](),
		kubernetesWatch[T](),
		tailscaleEventbus[T](),
	}
}
