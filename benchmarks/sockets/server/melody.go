package main

import (
	"net/http"

	"github.com/olahol/melody"
)

// melodySessions is melody, gorilla with a hub inside.
func melodySessions() (http.Handler, func(int64) error, error) {
	m := melody.New()
	watch := func(w http.ResponseWriter, r *http.Request) {
		_ = m.HandleRequest(w, r) // it has answered
	}
	publish := func(number int64) error { return m.Broadcast(message(number)) }
	return http.HandlerFunc(watch), publish, nil
}
