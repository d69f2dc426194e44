package stream

import (
	"bytes"
	"net"
	"slices"
	"sync"
)

// A Batch holds frames that are written together. Its buffers come from a pool, so that a quiet
// connection has none.
type Batch struct {
	Buf    []byte // all frames, one behind the other
	pieces []piece

	scratch []byte // what the functions of the options append to, before it is framed
}

// A piece is a frame of a batch.
type piece struct {
	end    int    // of the frame, in the buffer
	shared []byte // the frame, where it is kept for all connections; nil: only in the buffer
}

// batches is the pool of unused batches.
var batches = sync.Pool{New: func() any { return new(Batch) }}

// maxPooled is the largest capacity of a pooled buffer, so that one long message does not make
// every buffer long.
const maxPooled = 128 << 10

func newBatch() *Batch { return batches.Get().(*Batch) }

// Release gives the batch back. Nobody may use it afterwards.
func (b *Batch) Release() {
	if cap(b.Buf) > maxPooled || cap(b.scratch) > maxPooled {
		return
	}
	clear(b.pieces)
	b.Buf, b.pieces, b.scratch = b.Buf[:0], b.pieces[:0], b.scratch[:0]
	batches.Put(b)
}

// Frames returns the number of frames.
func (b *Batch) Frames() int { return len(b.pieces) }

// room returns what the functions of the options may append to, behind the payloads in use.
func (b *Batch) room() []byte { return b.scratch[len(b.scratch):] }

// keep takes the room for a payload. It does not take the payload itself: a function that returns a
// slice of its own, and not what it was given, keeps that for itself.
func (b *Batch) keep(payload []byte) {
	n := len(b.scratch) + len(payload)
	b.scratch = slices.Grow(b.scratch, len(payload))[:n]
}

// share adds a frame that is kept for all connections.
func (b *Batch) share(frame []byte) {
	b.Buf = append(b.Buf, frame...)
	b.pieces = append(b.pieces, piece{len(b.Buf), frame})
}

// end ends a frame that was appended to the buffer.
func (b *Batch) end() { b.pieces = append(b.pieces, piece{end: len(b.Buf)}) }

// Rest returns what follows the first n bytes, independent of the buffer. It copies only frames
// that are not shared, because a client that never reads holds the rest until its write times out.
func (b *Batch) Rest(n int) (rest net.Buffers) {
	begin := 0
	for _, p := range b.pieces {
		switch from := max(begin, n); {
		case p.end <= n:
		case p.shared != nil:
			rest = append(rest, p.shared[from-begin:])
		default:
			rest = append(rest, bytes.Clone(b.Buf[from:p.end]))
		}
		begin = p.end
	}
	return rest
}
