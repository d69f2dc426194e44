package wsconn

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// CheckHandshake returns nil for a request that asks for a WebSocket. Otherwise it sets the headers
// of the answer and returns an [httpjson.Error] with 426.
func CheckHandshake(w http.ResponseWriter, r *http.Request) error {
	if hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket") {
		return nil
	}
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	return httpjson.Errorf(http.StatusUpgradeRequired, "this address is for WebSockets")
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

// Hijacker is a ResponseWriter that hands over its connection as a [Conn], and also keeps it,
// because only closing the connection ends a WebSocket at once, whatever it is doing.
type Hijacker struct {
	http.ResponseWriter
	WriteTimeout time.Duration
	SendBuffer   int   // bytes that the kernel holds
	Conn         *Conn // set by Hijack
}

// Hijack implements [http.Hijacker].
func (h *Hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	// What the kernel buffers is a buffer too, beside the broker's, and one in which nothing is
	// dropped or counted. By default it grows to megabytes: thousands of messages between a slow
	// client and the first sign that it is slow.
	if tcp, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = tcp.SetWriteBuffer(h.SendBuffer) // without it, a slow client is noticed later
	}
	h.Conn = &Conn{Conn: conn, WriteTimeout: h.WriteTimeout}
	rw.Writer.Reset(h.Conn)
	return h.Conn, rw, nil
}
