package main

import (
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// As in the chat example.
const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10
	maxMessage = 512
)

// gorillaHub is the hub as most have it: one frame a message, and one write a frame.
func gorillaHub() (http.Handler, func(int64) error, error) {
	return gorillaWith(func(ws *websocket.Conn, frame []byte, _ <-chan []byte) error {
		return ws.WriteMessage(websocket.TextMessage, frame)
	})
}

// gorillaLines is the chat example itself: what waits for a client becomes one frame, joined by
// newlines.
func gorillaLines() (http.Handler, func(int64) error, error) {
	return gorillaWith(func(ws *websocket.Conn, frame []byte, more <-chan []byte) error {
		w, err := ws.NextWriter(websocket.TextMessage)
		if err != nil {
			return err
		}
		_, _ = w.Write(frame) // Close returns the error
		for range len(more) {
			_, _ = w.Write([]byte{'\n'})
			_, _ = w.Write(<-more)
		}
		return w.Close()
	})
}

// gorillaWith is a server with the hub, and with its own way to write what waits for a client.
func gorillaWith(
	write func(ws *websocket.Conn, first []byte, more <-chan []byte) error,
) (http.Handler, func(int64) error, error) {
	h := newHub[[]byte]()
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}
	watch := func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		outbox := h.enter()
		go func() {
			gorillaRead(ws)
			h.leave <- outbox
		}()
		go gorillaWrite(ws, outbox, func(first []byte) error { return write(ws, first, outbox) })
	}
	publish := func(number int64) error {
		h.posts <- message(number)
		return nil
	}
	return http.HandlerFunc(watch), publish, nil
}

// gorillaRead returns when the client has gone.
func gorillaRead(ws *websocket.Conn) {
	ws.SetReadLimit(maxMessage)
	_ = ws.SetReadDeadline(time.Now().Add(pongWait))
	ws.SetPongHandler(func(string) error { return ws.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			_ = ws.Close()
			return
		}
	}
}

// gorillaWrite writes what comes, and pings, until the outbox is closed or a write fails.
func gorillaWrite[T any](ws *websocket.Conn, outbox <-chan T, write func(T) error) {
	ticker := time.NewTicker(pingPeriod)
	defer ticker.Stop()
	defer ws.Close()
	for {
		select {
		case post, ok := <-outbox:
			_ = ws.SetWriteDeadline(time.Now().Add(writeWait))
			if !ok {
				_ = ws.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			if write(post) != nil {
				return
			}
		case <-ticker.C:
			if ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait)) != nil {
				return
			}
		}
	}
}
