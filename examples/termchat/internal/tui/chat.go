package tui

import (
	"context"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

// A Chat is the connection that the screen shows; *client.Client is one. All methods may be called
// concurrently.
type Chat interface {
	// Events returns a channel of what happens, in order. It is closed after the last event.
	Events() <-chan client.Event
	// Send writes text to the current room.
	Send(ctx context.Context, text string) error
	// Join moves to another room.
	Join(ctx context.Context, room string) error
	// Room returns the current room.
	Room() string
	// Upload shares a file with the current room; progress may be called from any goroutine.
	Upload(ctx context.Context, path string, progress func(sent, total int64)) (client.File, error)
	// Download fetches a file to path.
	Download(ctx context.Context, id, path string, progress func(got, total int64)) error
}

var _ Chat = (*client.Client)(nil)
