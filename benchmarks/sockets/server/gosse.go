package main

import (
	"net/http"

	"github.com/tmaxmax/go-sse"
)

// goSSE is go-sse with its provider Joe, which writes to one client after the other.
func goSSE() (http.Handler, func(int64) error, error) {
	s := new(sse.Server)
	publish := func(number int64) error {
		m := new(sse.Message)
		m.AppendData(string(message(number)))
		return s.Publish(m)
	}
	return s, publish, nil
}
