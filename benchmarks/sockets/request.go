package sockets

import "fmt"

// request is how a client asks for the chat.
func request(addr string, framing Framing, device int) []byte {
	head := fmt.Sprintf("GET /watch?chat=1&device=%d HTTP/1.1\r\nHost: %s\r\n", device, addr)
	if framing == EventStream {
		return []byte(head + "Accept: text/event-stream\r\n\r\n")
	}
	return []byte(head + "Connection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
}
