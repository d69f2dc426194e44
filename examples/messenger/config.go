package main

import (
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast"
)

// Config is everything about a Server that somebody may want to set. Begin with [DefaultConfig].
type Config struct {
	// How sockets that fall behind are treated; see the library's options of the same names.
	Buffer         int                // messages a socket may be behind
	Sampling       broadcast.Sampling // what happens to the next one
	Patience       time.Duration      // how long a post waits before that
	PublishTimeout time.Duration      // longest wait of one post, with Block
	StallTimeout   time.Duration      // a socket that has messages waiting and takes none for this long is closed
	CleanInterval  time.Duration      // how much later than that, at most

	// What a socket gets that comes back, or comes anew. The age must not be 0, which is any age: a chat with messages kept is
	// never forgotten, and MaxChats of them would be all there ever are.
	History    int           // messages kept of each chat, for clients that were away; those of all chats are MaxChats times as many
	HistoryAge time.Duration // how old they may be
	Replay     int           // messages that a newcomer begins with, if they are kept
	LeaveGrace time.Duration // a device that comes back within this time has not left; longer than a page takes to reconnect

	// Limits. A chat is held while somebody watches it, and until its last message is HistoryAge old and a few minutes have passed.
	MaxChats       int // in all
	MaxSubscribers int // sockets of one chat; when one comes or goes, each of the others is sent a frame

	// The transport.
	HeaderTimeout time.Duration // for the header of a request
	BodyTimeout   time.Duration // for header and body
	WriteTimeout  time.Duration // for one frame: streams know no other deadline
	PingInterval  time.Duration // between the pings that find connections whose other end is gone
	PingTimeout   time.Duration // for the answer to one
	CloseTimeout  time.Duration // for the client's part of the closing handshake
	SendBuffer    int           // bytes of a socket that the kernel holds; messages in there count as delivered
	DrainTimeout  time.Duration // for the whole shutdown; longer than WriteTimeout and CloseTimeout together

	Log *slog.Logger // nil: nothing is logged
}

// DefaultConfig returns what the flags start from.
func DefaultConfig() Config {
	return Config{
		Buffer:         256,
		Sampling:       broadcast.DropOldest,
		Patience:       10 * time.Millisecond,
		PublishTimeout: 5 * time.Second,
		StallTimeout:   30 * time.Second,
		CleanInterval:  5 * time.Second,
		History:        250,
		HistoryAge:     time.Hour,
		Replay:         50,
		LeaveGrace:     5 * time.Second,
		MaxChats:       1000,
		MaxSubscribers: 1000,
		HeaderTimeout:  5 * time.Second,
		BodyTimeout:    10 * time.Second,
		WriteTimeout:   5 * time.Second,
		PingInterval:   30 * time.Second,
		PingTimeout:    15 * time.Second,
		CloseTimeout:   5 * time.Second,
		SendBuffer:     64 << 10,
		DrainTimeout:   15 * time.Second,
	}
}

// brokerOptions returns the part of the configuration that the library looks after.
func (c Config) brokerOptions() []broadcast.Option {
	return []broadcast.Option{
		broadcast.WithBuffer(c.Buffer),
		broadcast.WithSampling(c.Sampling),
		broadcast.WithPatience(c.Patience),
		broadcast.WithPublishTimeout(c.PublishTimeout),
		broadcast.WithStallTimeout(c.StallTimeout),
		broadcast.WithCleanInterval(c.CleanInterval),
		broadcast.WithHistory(c.History, c.HistoryAge),
		broadcast.WithLeaveGrace(c.LeaveGrace),
		broadcast.WithMaxChats(c.MaxChats),
		broadcast.WithMaxSubscribers(c.MaxSubscribers),
		broadcast.WithLogger(c.Log),
	}
}

// answerTimeout returns how long a request may take from its header to the end of its answer: no limit, if a post may wait without one.
func (c Config) answerTimeout() time.Duration {
	if c.PublishTimeout == 0 {
		return 0
	}
	return c.BodyTimeout + c.PublishTimeout + c.WriteTimeout
}
