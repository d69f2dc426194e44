package sockets

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAMessageHasItsSizeAndOneNumber(t *testing.T) {
	for _, number := range []int64{1, 999_999_999_999} {
		m := string(AppendMessage(nil, number))
		assert.Len(t, m, MessageSize)
		assert.Equal(t, 1, strings.Count(m, string(mark)))
		assert.Contains(t, m, fmt.Sprintf("#%012d", number))
	}
}

const (
	upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
	chunked  = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	plain    = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
)

// frame returns a frame of a server.
func frame(opcode byte, text string) string {
	b := []byte{final | opcode}
	switch n := len(text); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return string(b) + text
}

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

func messages(from, to int64) string {
	var b []byte
	for n := from; n <= to; n++ {
		b = append(AppendMessage(b, n), '\n')
	}
	return string(b)
}

func feedInPieces(s *stream, all string, size int) error {
	for len(all) > 0 {
		n := min(size, len(all))
		if err := s.feed([]byte(all[:n])); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

func TestAStreamIsReadHoweverItIsCut(t *testing.T) {
	for name, c := range map[string]struct {
		framing Framing
		sent    string
		frames  int64
	}{
		"frames": {WebSocket, upgraded + frame(1, "ready") + frame(1, messages(1, 1)) +
			frame(9, "#ping") + frame(1, messages(2, 900)) + frame(2, messages(901, 902)), 4},
		"chunks": {EventStream, chunked + chunk("retry: 1") + chunk(messages(1, 1)[:20]) +
			chunk(messages(1, 902)[20:]), 3},
		"events": {EventStream, plain + messages(1, 902), -1},
	} {
		for _, size := range []int{1, 2, 3, 7, 150, 1000, 1 << 20} {
			s := &stream{framing: c.framing}
			require.NoError(t, feedInPieces(s, c.sent, size), name)
			assert.EqualValues(t, 902, s.last, "%s in pieces of %d", name, size)
			assert.Zero(t, s.lost, name)
			if c.frames >= 0 {
				assert.Equal(t, c.frames, s.frames, name)
			}
		}
	}
}

func TestMissingMessagesAreCounted(t *testing.T) {
	s := &stream{framing: WebSocket}
	require.NoError(t, s.feed([]byte(upgraded+frame(1, messages(5, 6)+messages(10, 10)))))
	assert.EqualValues(t, 3, s.lost, "those before the first were published before it joined")
	assert.EqualValues(t, 10, s.last)
}

func TestAStreamThatIsWrongIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		framing Framing
		sent    string
		want    string
	}{
		"refused":   {WebSocket, "HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"},
		"no stream": {EventStream, "HTTP/1.1 204 No Content\r\n\r\n", "204"},
		"long head": {
			EventStream, "HTTP/1.1 200 OK\r\n" + strings.Repeat("x", maxHead), "too long",
		},
		"twice":            {WebSocket, upgraded + frame(1, messages(1, 1)+messages(1, 1)), "twice"},
		"out of order":     {EventStream, plain + messages(2, 2) + messages(1, 1), "out of order"},
		"no number":        {WebSocket, upgraded + frame(1, "#12x"), "without a number"},
		"closed":           {WebSocket, upgraded + frame(8, "\x03\xe8"), "closed a socket"},
		"compressed":       {WebSocket, upgraded + "\xc1\x00", "begins with c1"},
		"masked":           {WebSocket, upgraded + "\x81\x80", "begins with 81 80"},
		"the last chunk":   {EventStream, chunked + "0\r\n\r\n", "ended a stream"},
		"no size of chunk": {EventStream, chunked + "zz\r\n", "ended a stream"},
	} {
		s := &stream{framing: c.framing}
		assert.ErrorContains(t, s.feed([]byte(c.sent)), c.want, name)
	}
}
