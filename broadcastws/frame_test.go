package broadcastws

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// parse reads the one frame that text must be, as RFC 6455, 5.2 says, with the shortest form of its
// length.
func parse(t *testing.T, text []byte) (first byte, payload []byte) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(text))
	first, err := r.ReadByte()
	require.NoError(t, err)
	short, err := r.ReadByte()
	require.NoError(t, err)
	require.Zero(t, short&0x80, "masked")
	length := uint64(short)
	switch short {
	case 126:
		var long [2]byte
		_, err = io.ReadFull(r, long[:])
		length = uint64(binary.BigEndian.Uint16(long[:]))
		require.Greater(t, length, uint64(125))
	case 127:
		var long [8]byte
		_, err = io.ReadFull(r, long[:])
		length = binary.BigEndian.Uint64(long[:])
		require.Greater(t, length, uint64(1<<16-1))
	}
	require.NoError(t, err)
	payload, err = io.ReadAll(r)
	require.NoError(t, err)
	require.EqualValues(t, length, len(payload))
	return first, payload
}

// Promise 82.
func FuzzAFrameIsReadAsItWasWritten(f *testing.F) {
	for _, size := range []int{0, 1, 125, 126, 127, 1<<16 - 1, 1 << 16, 1<<16 + 1} {
		f.Add(strings.Repeat("x", size), uint16(1), true)
	}
	f.Add("\x00\xff", uint16(3), false)
	f.Fuzz(func(t *testing.T, text string, times uint16, binary bool) {
		payload := []byte(strings.Repeat(text, int(times)%8192))
		f := framer{dataOpcode(binary)}
		before := []byte("before")
		frame := f.AppendMessage(before, payload, broadcast.Position{})
		require.True(t, bytes.HasPrefix(frame, before))
		frame = frame[len(before):]
		first, got := parse(t, frame)
		assert.Equal(t, final|f.opcode, first)
		assert.True(t, bytes.Equal(payload, got))

		packed := f.AppendPacked(nil, frame)
		assert.LessOrEqual(t, len(packed), len(frame))
		first, got = parse(t, packed)
		if first&compressed != 0 {
			assert.Equal(t, final|compressed|f.opcode, first)
			var err error
			tail := "\x00\x00\xff\xff\x01\x00\x00\xff\xff" // what RFC 7692 leaves out, and an end
			got, err = io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(got), strings.NewReader(tail))))
			require.NoError(t, err)
		}
		assert.True(t, bytes.Equal(payload, got))
	})
}

func TestACloseTextIsCutToWholeRunesOf123Bytes(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, strings.Repeat("x", 123): 123, strings.Repeat("x", 124): 123, strings.Repeat("é", 62): 122,
		strings.Repeat("€", 41): 123, strings.Repeat("😀", 31): 120, "x" + strings.Repeat("😀", 31): 121,
	} {
		assert.Len(t, cut(text), want)
	}
}
