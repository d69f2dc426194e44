package main

import (
	"context"
	"net/http"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// broadcastSSE is broadcastsse with its defaults, through net/http.
func broadcastSSE() (http.Handler, func(int64) error, error) { return broadcastSSEWith(false) }

// broadcastSSEHijacked is broadcastsse on connections that it has taken over from net/http.
func broadcastSSEHijacked() (http.Handler, func(int64) error, error) {
	return broadcastSSEWith(true)
}

func broadcastSSEWith(hijack bool) (http.Handler, func(int64) error, error) {
	broker, err := broadcast.New[[]byte]()
	if err != nil {
		return nil, nil, err
	}
	watch, err := broadcastsse.New(broker, broadcastsse.Options[[]byte]{
		Admit: func(r *http.Request) (broadcastsse.Ticket, error) {
			query := r.URL.Query()
			return broadcastsse.Ticket{Chat: query.Get("chat"), Device: query.Get("device")}, nil
		},
		Encode: asItIs,
		Hijack: hijack,
	})
	return watch, publishTo(broker), err
}

// asItIs encodes a message that is bytes already.
func asItIs(dst []byte, d broadcast.Delivery[[]byte]) ([]byte, error) {
	return append(dst, d.Message...), nil
}

func publishTo(broker *broadcast.Broker[[]byte]) func(number int64) error {
	return func(number int64) error {
		return broker.Publish(context.Background(), "1", message(number))
	}
}
