package broadcastws

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"math"
	"sync"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// The first byte of a frame holds the final bit, the compression bit, and the opcode.
const (
	final      = 0x80
	compressed = 0x40 // RSV1, with permessage-deflate

	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
	opMask   = 0xf
)

func dataOpcode(binary bool) byte {
	if binary {
		return opBinary
	}
	return opText
}

// A framer makes frames of RFC 6455, as a server sends them.
type framer struct{ opcode byte }

func (f framer) AppendMessage(dst, payload []byte, _ broadcast.Position) []byte {
	return append(appendHeader(dst, final|f.opcode, len(payload)), payload...)
}

func (f framer) AppendEvent(dst, payload []byte, _ stream.Event) []byte {
	return append(appendHeader(dst, final|f.opcode, len(payload)), payload...)
}

func (f framer) AppendPing(dst []byte) []byte { return append(dst, final|opPing, 0) }

// AppendPacked appends a frame with its payload compressed, if that makes it shorter.
func (f framer) AppendPacked(dst, frame []byte) []byte {
	payload := frame[headerSize(frame):]
	packed := deflaters.Get().(*deflater)
	defer deflaters.Put(packed)
	if text := packed.deflate(payload); len(text) < len(payload) {
		return append(appendHeader(dst, final|compressed|f.opcode, len(text)), text...)
	}
	return append(dst, frame...)
}

// appendHeader appends the header of a frame that is not masked.
func appendHeader(dst []byte, first byte, payload int) []byte {
	switch {
	case payload < 126:
		return append(dst, first, byte(payload))
	case payload <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(payload))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(payload))
}

// headerSize returns how long the header is that begins a frame made by appendHeader.
func headerSize(frame []byte) int {
	switch frame[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// A deflater compresses each message independently, as RFC 7692 requires without context takeover.
type deflater struct {
	out bytes.Buffer
	w   *flate.Writer
}

// deflaters is the pool of unused deflaters; each takes hundreds of kilobytes.
var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	d.w, _ = flate.NewWriter(&d.out, flate.BestSpeed) // the level is valid
	return d
}}

// deflate returns the compressed payload, which is valid until the next call. It omits the four
// bytes that end every flush, as RFC 7692 requires.
func (d *deflater) deflate(payload []byte) []byte {
	d.out.Reset()
	d.w.Reset(&d.out)
	_, _ = d.w.Write(payload) // a buffer takes everything
	_ = d.w.Flush()
	return d.out.Bytes()[:d.out.Len()-4]
}
