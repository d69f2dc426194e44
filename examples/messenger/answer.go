package main

import (
	"errors"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

var errShuttingDown = httpjson.Later(5*time.Second, "the server is shutting down")

// publishRefusal returns what a client is told when the broker did not accept its message.
func publishRefusal(err error) error {
	switch {
	case errors.Is(err, broadcast.ErrOverloaded):
		return httpjson.Later(time.Second, "the chat is overloaded; the message was not accepted")
	case errors.Is(err, broadcast.ErrLimit): // with a history a post makes the chat that it is for
		return httpjson.Later(5*time.Second, "too many chats; the message was not accepted")
	case errors.Is(err, broadcast.ErrClosed):
		return errShuttingDown
	}
	return err // the client has gone while its post was waiting
}

// subscribeRefusal returns what a client is told when the broker did not let it in.
func subscribeRefusal(err error) error {
	switch {
	case errors.Is(err, broadcast.ErrLimit):
		return httpjson.Later(5*time.Second, "too many chats, or too many devices in this one")
	case errors.Is(err, broadcast.ErrClosed):
		return errShuttingDown
	}
	return err
}
