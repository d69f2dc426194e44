package server

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

var (
	errStopping = httpjson.Later(2*time.Second, "the server is stopping")
	errCrowded  = httpjson.Later(5*time.Second, "too many rooms, or too many people in this one")
)

// roomRefusal returns what a client is told when the broker did not take its subscription or its
// message.
func roomRefusal(err error) error {
	switch {
	case errors.Is(err, broadcast.ErrLimit):
		return errCrowded
	case errors.Is(err, broadcast.ErrOverloaded):
		return httpjson.Later(time.Second, "the room is overloaded; the message was not accepted")
	case errors.Is(err, broadcast.ErrClosed):
		return errStopping
	}
	return err
}

// once returns the value of a query that must be given exactly once.
func once(query url.Values, key string) (string, error) {
	if values := query[key]; len(values) == 1 {
		return values[0], nil
	}
	return "", httpjson.Errorf(http.StatusBadRequest, "%s must be given once", key)
}

// claim returns the room and the name that a query gives, or what is wrong with them.
func claim(query url.Values) (room, name string, err error) {
	if room, err = once(query, "room"); err != nil {
		return "", "", err
	}
	if name, err = once(query, "name"); err != nil {
		return "", "", err
	}
	if err := errors.Join(wire.CheckName("room", room), wire.CheckName("name", name)); err != nil {
		return "", "", httpjson.Errorf(http.StatusBadRequest, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return room, name, nil
}
