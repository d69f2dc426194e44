package main

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

// The opcodes of RFC 6455, section 5.2.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// rawClient is a WebSocket client written from RFC 6455 alone. It does what it is told and nothing by itself: it reads when
// asked and answers no ping, so it can also play the clients that a server must survive.
type rawClient struct {
	t    testing.TB
	conn *net.TCPConn
	r    *bufio.Reader
}

// raw opens a WebSocket by hand.
func (s *service) raw(chat, device int) *rawClient {
	s.T.Helper()
	return s.rawAfter(chat, device, "")
}

// rawAfter is raw from a position on.
func (s *service) rawAfter(chat, device int, position string) *rawClient {
	s.T.Helper()
	c, res := s.handshake(fmt.Sprintf("/ws?chat=%d&device=%d&events=1&after=%s", chat, device, position))
	require.Equal(s.T, http.StatusSwitchingProtocols, res.StatusCode)
	return c
}

// connect opens a connection and sends nothing.
func (s *service) connect() *rawClient {
	s.T.Helper()
	conn := s.Connect()
	return &rawClient{t: s.T, conn: conn, r: bufio.NewReader(conn)}
}

// handshake sends an opening handshake with extra header lines and returns the answer.
func (s *service) handshake(path string, extra ...string) (*rawClient, *http.Response) {
	s.T.Helper()
	c := s.connect()
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce)
	key := base64.StdEncoding.EncodeToString(nonce)
	request := "GET " + path + " HTTP/1.1\r\nHost: " + s.Addr + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	for _, line := range extra {
		request += line + "\r\n"
	}
	_, err := io.WriteString(c.conn, request+"\r\n")
	require.NoError(s.T, err)
	res, err := http.ReadResponse(c.r, nil)
	require.NoError(s.T, err)
	if res.StatusCode == http.StatusSwitchingProtocols {
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		require.Equal(s.T, base64.StdEncoding.EncodeToString(sum[:]), res.Header.Get("Sec-WebSocket-Accept"))
	}
	return c, res
}

// frame reads one frame. The server must send neither fragments nor masks.
func (c *rawClient) frame() (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	require.Equal(c.t, byte(0x80), head[0]&0xf0, "FIN must be set, the reserved bits must not")
	require.Zero(c.t, head[1]&0x80, "a server must not mask")
	length := uint64(head[1])
	switch length {
	case 126:
		var n [2]byte
		_, err = io.ReadFull(c.r, n[:])
		length = uint64(binary.BigEndian.Uint16(n[:]))
	case 127:
		var n [8]byte
		_, err = io.ReadFull(c.r, n[:])
		length = binary.BigEndian.Uint64(n[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(c.r, payload)
	return head[0] & 0x0f, payload, err
}

// next returns the next message, which must come.
func (c *rawClient) next() frame {
	c.t.Helper()
	for {
		opcode, payload, err := c.frame()
		require.NoError(c.t, err)
		require.Equal(c.t, byte(opText), opcode, "%s", payload)
		if !isEvent(c.t, payload) {
			return parse[frame](c.t, payload)
		}
	}
}

// ready reads the first frame.
func (c *rawClient) ready() event {
	c.t.Helper()
	opcode, payload, err := c.frame()
	require.NoError(c.t, err)
	require.Equal(c.t, byte(opText), opcode, "%s", payload)
	e := parse[event](c.t, payload)
	require.Equal(c.t, eventReady, e.Event)
	return e
}

// rest reads messages up to the closing frame, answers that, and returns them with its code and reason.
func (c *rawClient) rest() (frames []frame, code int, reason string) {
	c.t.Helper()
	for {
		opcode, payload, err := c.frame()
		require.NoError(c.t, err, "the connection ended without a closing frame")
		switch opcode {
		case opText:
			if !isEvent(c.t, payload) {
				frames = append(frames, parse[frame](c.t, payload))
			}
		case opClose:
			require.GreaterOrEqual(c.t, len(payload), 2)
			c.send(opClose, payload[:2])
			return frames, int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		default:
			require.Equal(c.t, byte(opPing), opcode)
		}
	}
}

// send writes one masked frame.
func (c *rawClient) send(opcode byte, payload []byte) {
	c.t.Helper()
	out := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n <= 0xffff:
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 0x80|127), uint64(n))
	}
	mask := []byte{0x12, 0x34, 0x56, 0x78}
	out = append(out, mask...)
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	_, err := c.conn.Write(out)
	require.NoError(c.t, err)
}

// ended waits until the server has ended the connection, with or without what was still in it.
func (c *rawClient) ended() {
	c.t.Helper()
	exampletest.Ended(c.t, c.r)
}

// reset ends the connection as a client does that crashes: with a TCP reset.
func (c *rawClient) reset() {
	c.t.Helper()
	exampletest.Reset(c.t, c.conn)
}
