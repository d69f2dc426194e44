package broadcastws_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastws"
)

// The kinds of frames, RFC 6455, 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	fin  = 0x80
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10
)

// masked returns a frame of a client.
func masked(first byte, payload string) string {
	key := []byte{1, 2, 3, 4}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, key...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return string(b)
}

// closing returns a close frame of a client.
func closing(code uint16, text string) string {
	return masked(fin|opClose, string(binary.BigEndian.AppendUint16(nil, code))+text)
}

// unmasked reads a frame of a server.
func unmasked(r *bufio.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var size [2]byte
		_, err = io.ReadFull(r, size[:])
		n = uint64(binary.BigEndian.Uint16(size[:]))
	case 127:
		var size [8]byte
		_, err = io.ReadFull(r, size[:])
		n = binary.BigEndian.Uint64(size[:])
	}
	if err != nil {
		return 0, nil, err
	}
	if n > 1<<20 {
		return 0, nil, errors.New("a frame that is too long, or masked")
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}

// untilClose reads until the close frame and, after it, the end of the connection. It returns the
// close code, or 0 if the close frame has none, and the payloads of the pongs before it.
func untilClose(t *testing.T, r *bufio.Reader) (code int, pongs []string) {
	t.Helper()
	for {
		first, payload, err := unmasked(r)
		require.NoError(t, err, "before a close frame")
		switch first {
		case fin | opPong:
			pongs = append(pongs, string(payload))
		case fin | opClose:
			_, err := r.ReadByte()
			require.ErrorIs(t, err, io.EOF, "after the close frame")
			if len(payload) == 0 {
				return 0, pongs
			}
			return int(binary.BigEndian.Uint16(payload)), pongs
		}
	}
}

// Promise 87.
func TestTheProtocolIsKept(t *testing.T) {
	long := strings.Repeat("x", 126)
	for name, test := range map[string]struct {
		frames string
		code   int
		pongs  string
		got    string // what Receive gets
	}{
		"not masked":                        {"\x81\x01x", 1002, "", ""},
		"RSV1 without an extension":         {masked(fin|rsv1|opText, "x"), 1002, "", ""},
		"RSV2":                              {masked(fin|rsv2|opText, "x"), 1002, "", ""},
		"RSV3":                              {masked(fin|rsv3|opText, "x"), 1002, "", ""},
		"reserved opcode":                   {masked(fin|0x3, "x"), 1002, "", ""},
		"reserved control opcode":           {masked(fin|0xb, "x"), 1002, "", ""},
		"a ping of 126 bytes":               {masked(fin|opPing, long), 1002, "", ""},
		"a ping in two fragments":           {masked(opPing, "x"), 1002, "", ""},
		"a close payload of one byte":       {masked(fin|opClose, "x"), 1002, "", ""},
		"close code 1005":                   {closing(1005, ""), 1002, "", ""},
		"close code 1006":                   {closing(1006, ""), 1002, "", ""},
		"close code 999":                    {closing(999, ""), 1002, "", ""},
		"close code 2000":                   {closing(2000, ""), 1002, "", ""},
		"close code 5000":                   {closing(5000, ""), 1002, "", ""},
		"a close text that is not UTF-8":    {closing(1000, "\xff"), 1007, "", ""},
		"a text that is not UTF-8":          {masked(fin|opText, "\xff"), 1007, "", ""},
		"a rune that is cut":                {masked(fin|opText, "\xe2\x82"), 1007, "", ""},
		"a continuation of nothing":         {masked(fin|opContinuation, "x"), 1002, "", ""},
		"a text within a text":              {masked(opText, "x") + masked(fin|opText, "y"), 1002, "", ""},
		"a message that is too big":         {masked(fin|opText, strings.Repeat("x", 5000)), 1009, "", ""},
		"the same in fragments":             {masked(opText, strings.Repeat("x", 3000)) + masked(fin|opContinuation, strings.Repeat("x", 3000)), 1009, "", ""},
		"a length that no message has":      {"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04" + strings.Repeat("x", 5000), 1009, "", ""},
		"a negative length":                 {"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1002, "", ""},
		"close":                             {closing(1000, "bye"), 1000, "", ""},
		"close without a code":              {masked(fin|opClose, ""), 0, "", ""},
		"close with a code of one's own":    {closing(4999, ""), 4999, "", ""},
		"a ping":                            {masked(fin|opPing, "p") + closing(1000, ""), 1000, "p", ""},
		"a pong that nobody asked for":      {masked(fin|opPong, "p") + closing(1000, ""), 1000, "", ""},
		"a message":                         {masked(fin|opText, "x") + closing(1000, ""), 1000, "", "x"},
		"an empty message":                  {masked(fin|opText, "") + masked(fin|opText, "x") + closing(1000, ""), 1000, "", "|x"},
		"a rune in two fragments":           {masked(opText, "\xe2\x82") + masked(fin|opContinuation, "\xac") + closing(1000, ""), 1000, "", "€"},
		"a ping between fragments":          {masked(opText, "x") + masked(fin|opPing, "p") + masked(fin|opContinuation, "y") + closing(1000, ""), 1000, "p", "xy"},
		"binary that is not UTF-8":          {masked(fin|opBinary, "\xff") + closing(1000, ""), 1000, "", "\xff"},
		"the longest message":               {masked(fin|opText, strings.Repeat("x", 4096)) + closing(1000, ""), 1000, "", strings.Repeat("x", 4096)},
		"nothing is read after the closing": {closing(1000, "") + masked(fin|opText, "x"), 1000, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			s := start(t, func(o *options) {
				o.CloseTimeout = 50 * time.Millisecond // the client answers nothing
				o.Receive = func(_ context.Context, _ *broadcastws.Conn, message []byte) error {
					got = append(got, string(message))
					return nil
				}
			})
			// Together with the handshake, which is allowed, and shows that nothing is lost between
			// the two readers.
			_, r, res := s.raw(request + test.frames)
			require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
			code, pongs := untilClose(t, r)
			assert.Equal(t, test.code, code)
			assert.Equal(t, test.pongs, strings.Join(pongs, "|"))
			_ = s.reason()
			assert.Equal(t, test.got, strings.Join(got, "|"))
			assert.Empty(t, s.log.String())
		})
	}
}

// Promise 87.
func TestACloseFrameIsFollowedByNothingWhileMessagesArePublished(t *testing.T) {
	s := start(t, nil)
	for range 20 {
		conn, r, _ := s.raw(request)
		ctx, cancel := context.WithCancel(context.Background())
		published := make(chan struct{})
		go func() {
			defer close(published)
			for ctx.Err() == nil {
				_ = s.broker.Publish(ctx, "c", "x")
			}
		}()
		_, err := conn.Write([]byte(closing(1000, "")))
		require.NoError(t, err)
		code, _ := untilClose(t, r)
		assert.Equal(t, 1000, code)
		cancel()
		<-published
	}
}

// Promise 87.
func TestACloseTextIsCutAtARune(t *testing.T) {
	s := start(t, func(o *options) {
		o.CloseCode = func(error) (int, string) { return 4000, "x" + strings.Repeat("€", 50) }
	})
	conn, r, _ := s.raw(request)
	require.NoError(t, s.broker.Close())
	for {
		first, payload, err := unmasked(r)
		require.NoError(t, err)
		if first == fin|opClose {
			assert.Equal(t, "x"+strings.Repeat("€", 40), string(payload[2:]))
			break
		}
	}
	_, err := conn.Write([]byte(closing(4000, "")))
	require.NoError(t, err)
	assert.Empty(t, s.log.String())
}

func TestACloseCodeThatCannotBeSentIsReplaced(t *testing.T) {
	s := start(t, func(o *options) { o.CloseCode = func(error) (int, string) { return 1005, "" } })
	c := s.dial("1")
	require.NoError(t, s.broker.Close())
	assert.EqualValues(t, 1001, c.ended().Code)
	assert.Contains(t, s.log.String(), "CloseCode failed")
}

// What a socket writes goes past the library that writes its close frames. That is safe because
// the library makes one call of Write for each of them, and every write has its turn.
//
// Promise 87.
func TestControlFramesAndBatchesDoNotMix(t *testing.T) {
	s := start(t, func(o *options) { o.SendBuffer = 1 << 10 })
	conn, r, _ := s.raw(request)
	const pings = 200
	text := strings.Repeat("x", 3000)
	published := make(chan struct{})
	go func() {
		defer close(published)
		for range pings {
			_ = s.broker.Publish(context.Background(), "c", text)
		}
	}()
	pinged := make(chan error, 1)
	go func() {
		_, err := conn.Write(bytes.Repeat([]byte(masked(fin|opPing, strings.Repeat("p", 125))), pings))
		pinged <- err
	}()
	pongs := 0
	for pongs < pings {
		first, payload, err := unmasked(r)
		require.NoError(t, err)
		switch first {
		case fin | opPong:
			require.Equal(t, strings.Repeat("p", 125), string(payload))
			pongs++
		case fin | opText:
			require.Equal(t, byte('}'), payload[len(payload)-1])
		default:
			require.Failf(t, "bad frame", "%x", first)
		}
	}
	require.NoError(t, <-pinged)
	<-published
}
