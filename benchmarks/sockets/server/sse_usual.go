package main

import (
	"fmt"
	"net/http"
)

// sseUsual is what tutorials show: the hub, and for each message a Fprintf and a Flush.
func sseUsual() (http.Handler, func(int64) error, error) {
	h := newHub[[]byte]()
	watch := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		control := http.NewResponseController(w)
		outbox := h.enter()
		defer func() { h.leave <- outbox }()
		for {
			select {
			case <-r.Context().Done():
				return
			case data, ok := <-outbox:
				if !ok {
					return
				}
				if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil || control.Flush() != nil {
					return
				}
			}
		}
	}
	publish := func(number int64) error {
		h.posts <- message(number)
		return nil
	}
	return http.HandlerFunc(watch), publish, nil
}
