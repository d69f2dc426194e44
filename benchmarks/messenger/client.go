package messenger

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
)

// Client is a WebSocket that only reads text frames, with as little work as possible, so that what
// is measured is the server.
type Client struct {
	conn net.Conn
	r    *bufio.Reader
	buf  []byte
}

// Dial connects a device. One that is going to stop reading asks for small buffers.
func Dial(addr, device string, small bool) (*Client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	query := "device=" + device
	if small {
		query += "&small"
		_ = conn.(*net.TCPConn).SetReadBuffer(1)
	}
	c := &Client{conn: conn, r: bufio.NewReaderSize(conn, 2<<10), buf: make([]byte, 1<<10)}
	if err := c.shakeHands(addr, query); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) shakeHands(addr, query string) error {
	_, err := fmt.Fprintf(c.conn, "GET /ws?%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", query, addr)
	if err != nil {
		return err
	}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(response.Status)
	}
	return nil
}

// Frames returns a loop over the texts that come, until the connection ends. Each is good until the
// next.
func (c *Client) Frames() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			frame, err := c.next()
			if err != nil || !yield(frame) {
				return
			}
		}
	}
}

const (
	textFrame   = 0x81 // a whole one
	twoByteSize = 126
)

// next reads one frame; anything but a short text ends the loop.
func (c *Client) next() ([]byte, error) {
	head := c.buf[:2]
	if _, err := io.ReadFull(c.r, head); err != nil {
		return nil, err
	}
	if head[0] != textFrame {
		return nil, errors.New("not a text")
	}
	size := int(head[1])
	if size == twoByteSize {
		if _, err := io.ReadFull(c.r, head); err != nil {
			return nil, err
		}
		size = int(binary.BigEndian.Uint16(head))
	}
	if size > len(c.buf) {
		return nil, errors.New("too long")
	}
	_, err := io.ReadFull(c.r, c.buf[:size])
	return c.buf[:size], err
}

// Close ends the connection without a word.
func (c *Client) Close() { _ = c.conn.Close() }

// Poster posts messages, one after the other, over one connection.
type Poster struct {
	url    string
	client http.Client
}

// NewPoster returns a poster for a server.
func NewPoster(addr string) *Poster {
	return &Poster{"http://" + addr + "/message", http.Client{Transport: &http.Transport{}}}
}

// Post posts one message and waits for the answer.
func (p *Poster) Post(m Post) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	response, err := p.client.Post(p.url, "application/json", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusAccepted {
		return errors.New(response.Status)
	}
	return nil
}

// Close closes the connection.
func (p *Poster) Close() { p.client.CloseIdleConnections() }
