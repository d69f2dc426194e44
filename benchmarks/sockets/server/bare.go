package main

import (
	"encoding/binary"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// bareWrites is not a usable server. It measures what the kernel alone costs: when a burst is
// complete, each of two loops writes it to half of the connections. It wakes no goroutine and reads
// nothing, and one client that does not read stops it. No server can cost less.
func bareWrites() (http.Handler, func(int64) error, error) {
	b := &bare{posts: make(chan []byte, maxFlush)}
	go b.collect()
	publish := func(number int64) error {
		b.posts <- message(number)
		return nil
	}
	return b, publish, nil
}

type bare struct {
	posts chan []byte

	mu    sync.Mutex
	conns [2][]net.Conn // for each loop
}

// ServeHTTP implements [http.Handler].
func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	shorter := 0
	if len(b.conns[1]) < len(b.conns[0]) {
		shorter = 1
	}
	b.conns[shorter] = append(b.conns[shorter], ws.NetConn())
}

// collect writes the messages of a burst together: 64 of them, or fewer if none has come for a
// millisecond.
func (b *bare) collect() {
	for post := range b.posts {
		frames := appendTextFrame(nil, post)
		pause := time.After(time.Millisecond)
		for n, over := 1, false; n < maxFlush && !over; n++ {
			select {
			case post = <-b.posts:
				frames = appendTextFrame(frames, post)
			case <-pause:
				over = true
			}
		}
		b.write(frames)
	}
}

// write writes to all connections. Broken ones stay in the list, because the process ends soon.
func (b *bare) write(frames []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var loops sync.WaitGroup
	for _, half := range b.conns {
		loops.Go(func() {
			for _, conn := range half {
				_, _ = conn.Write(frames)
			}
		})
	}
	loops.Wait()
}

// appendTextFrame appends a frame with a message, which has between 126 and 65 535 bytes.
func appendTextFrame(dst, message []byte) []byte {
	dst = append(dst, 0x81, 126)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(message)))
	return append(dst, message...)
}
