package cluster

import (
	"errors"
	"fmt"
)

// Errors of [Node.Publish].
var (
	// ErrUncertain means that the message may have been stored, or may be stored yet.
	ErrUncertain = errors.New("broadcast: not known whether the message was accepted")
	// ErrTimeout means that the timeout has passed although the engine could be reached: a reader
	// of this node held publishers back, or there was too much to publish.
	ErrTimeout = errors.New("timeout")
	// ErrClosed means that the node was closed.
	ErrClosed = errors.New("closed")
)

// An EndedError means that a chat has ended.
type EndedError struct {
	Reason error // nil if none was given
}

func (e *EndedError) Error() string {
	if e.Reason == nil {
		return "chat ended"
	}
	return fmt.Sprintf("chat ended: %v", e.Reason)
}

// Unwrap returns the reason.
func (e *EndedError) Unwrap() error { return e.Reason }
