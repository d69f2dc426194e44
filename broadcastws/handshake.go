package broadcastws

import (
	"bufio"
	"encoding/base64"
	"net"
	"net/http"
	"strings"

	"github.com/fbd86cad/broadcast/internal/stream"
)

// checkHandshake returns why a request cannot become a WebSocket, or nil. It is as strict as the
// library that answers the handshake later, when it is too late to refuse.
func checkHandshake(w http.ResponseWriter, r *http.Request) *stream.Refusal {
	h := r.Header
	keys := h.Values("Sec-WebSocket-Key")
	switch {
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor > 1 ||
		!hasToken(h, "Connection", "upgrade") || !hasToken(h, "Upgrade", "websocket"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return refusal(http.StatusUpgradeRequired, "this address is for WebSockets")
	case h.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return refusal(http.StatusBadRequest, "the only version is 13")
	case len(keys) != 1 || !isKey(keys[0]):
		return refusal(http.StatusBadRequest, "bad Sec-WebSocket-Key")
	case !canHijack(w):
		return refusal(http.StatusNotImplemented, "this connection cannot become a WebSocket")
	}
	return nil
}

func refusal(status int, text string) *stream.Refusal {
	return &stream.Refusal{Status: status, Text: text}
}

// isKey reports whether a key is 16 bytes in base64.
func isKey(key string) bool {
	bytes, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	return err == nil && len(bytes) == 16
}

// hasToken reports whether a comma-separated header contains token, in any case.
func hasToken(header http.Header, name, token string) bool {
	for _, line := range header.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// canHijack reports whether [http.ResponseController.Hijack] would find a connection.
func canHijack(w http.ResponseWriter) bool {
	for {
		switch t := w.(type) {
		case http.Hijacker:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}

// An upgrade is the ResponseWriter of a handshake. It hands the connection over as a wire, and
// keeps it.
type upgrade struct {
	http.ResponseWriter
	open func(conn net.Conn, early []byte) *stream.Conn
	wire *wire // set by Hijack
}

// frameBuffers is the size of the buffers that the library reads and writes with. It writes nothing
// but control frames, which fit; net/http's own have 4 KB each, which a quiet socket would keep.
const frameBuffers = 256

// Hijack implements [http.Hijacker].
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered()) // what is buffered can be peeked at
	u.wire = &wire{Conn: u.open(conn, append([]byte(nil), early...))}
	return u.wire, bufio.NewReadWriter(
		bufio.NewReaderSize(u.wire, frameBuffers), bufio.NewWriterSize(u.wire, frameBuffers),
	), nil
}
