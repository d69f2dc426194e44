package main

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// Config is everything about a Server that somebody may want to set. Begin with [DefaultConfig].
type Config struct {
	// Authorize is asked before every post and every stream, with what the request claims: the chat, and the device that watches or
	// posts. An error is answered with 403. nil believes everybody: put your login here before you put this on a
	// network, because a stream takes over from an older one of the same device.
	Authorize func(r *http.Request, chat, device httpjson.ID) error

	// What a stream that was interrupted, or cut off because it was too slow, can resume. All chats together hold at most
	// MaxChats * History messages.
	History    int           // messages kept of each chat; not less than Buffer, or who was too slow cannot resume
	HistoryAge time.Duration // how long, at most; 0 is no limit

	Buffer         int                // messages a stream may be behind
	Sampling       broadcast.Sampling // what happens then; Disconnect lets the client come back and lose nothing
	PublishTimeout time.Duration      // longest wait of one post, with Block
	MaxChats       int
	MaxStreams     int // of one chat

	Retry     time.Duration // clients wait this long before they reconnect, and up to as long again, lest all come at once
	Heartbeat time.Duration // a stream that is silent for this long gets a comment, so that proxies do not think it dead

	HeaderTimeout time.Duration // for the header of a request
	BodyTimeout   time.Duration // for header and body
	WriteTimeout  time.Duration // for one write to a stream, which knows no other deadline
	SendBuffer    int           // bytes of a connection that the kernel holds; messages in there count as delivered
	DrainTimeout  time.Duration // for the whole shutdown; longer than WriteTimeout

	Log *slog.Logger // nil: nothing is logged
}

// DefaultConfig returns what the flags start from.
func DefaultConfig() Config {
	return Config{
		History:        500,
		HistoryAge:     15 * time.Minute,
		Buffer:         256,
		Sampling:       broadcast.Disconnect,
		PublishTimeout: 5 * time.Second,
		MaxChats:       1000,
		MaxStreams:     10_000,
		Retry:          time.Second,
		Heartbeat:      15 * time.Second,
		HeaderTimeout:  5 * time.Second,
		BodyTimeout:    10 * time.Second,
		WriteTimeout:   5 * time.Second,
		SendBuffer:     64 << 10,
		DrainTimeout:   15 * time.Second,
	}
}

// check returns an error if something is wrong that the library does not check.
func (c Config) check() error {
	if c.Heartbeat <= 0 || c.Retry <= 0 {
		return errors.New("the heartbeat and the retry must be above 0")
	}
	return nil
}

// brokerOptions returns the part of the configuration that the library looks after.
func (c Config) brokerOptions() []broadcast.Option {
	return []broadcast.Option{
		broadcast.WithHistory(c.History, c.HistoryAge),
		broadcast.WithBuffer(c.Buffer),
		broadcast.WithSampling(c.Sampling),
		broadcast.WithPublishTimeout(c.PublishTimeout),
		broadcast.WithMaxChats(c.MaxChats),
		broadcast.WithMaxSubscribers(c.MaxStreams),
		broadcast.WithLogger(c.Log),
	}
}
