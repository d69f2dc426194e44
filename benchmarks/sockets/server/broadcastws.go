package main

import (
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// broadcastWS is broadcastws with its defaults. As with the others, a message is sent as it is.
func broadcastWS() (http.Handler, func(int64) error, error) { return broadcastWSWith(0) }

// broadcastWSPaced writes to a socket every 20 ms at most.
func broadcastWSPaced() (http.Handler, func(int64) error, error) {
	return broadcastWSWith(20 * time.Millisecond)
}

func broadcastWSWith(pace time.Duration) (http.Handler, func(int64) error, error) {
	broker, err := broadcast.New[[]byte]()
	if err != nil {
		return nil, nil, err
	}
	watch, err := broadcastws.New(broker, broadcastws.Options[[]byte]{
		Admit: func(r *http.Request) (broadcastws.Ticket, error) {
			query := r.URL.Query()
			return broadcastws.Ticket{Chat: query.Get("chat"), Device: query.Get("device")}, nil
		},
		Encode: asItIs,
		Pace:   pace,
	})
	return watch, publishTo(broker), err
}
