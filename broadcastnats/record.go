package broadcastnats

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"slices"

	"github.com/fbd86cad/broadcast/engine"
)

// A record is stored as a message with
//
//	version  1 byte
//	epoch    varint
//	start    varint: the number before that of the first message
//	prev     varint: the mark of the record before
//	id       varint: its length, then its bytes
//	batch    varint: the number of messages; then each as the id
//
// Its mark is the sequence of the message in the stream.
const version = 1

// encode appends to data what is stored for a record.
func encode(data []byte, after engine.Place, batch [][]byte, id string) []byte {
	size := 1 + 5*binary.MaxVarintLen64 + len(id)
	for _, m := range batch {
		size += binary.MaxVarintLen32 + len(m)
	}
	data = append(slices.Grow(data, size), version)
	for _, n := range []uint64{after.Epoch, after.Seq, after.Mark, uint64(len(id))} {
		data = binary.AppendUvarint(data, n)
	}
	data = append(data, id...)
	data = binary.AppendUvarint(data, uint64(len(batch)))
	for _, m := range batch {
		data = binary.AppendUvarint(data, uint64(len(m)))
		data = append(data, m...)
	}
	return data
}

// decode returns the record of which data was stored at a mark. Its messages are parts of data.
//
// Something else that was stored in the subject of a chat counts as the first record of the oldest
// epoch. So nodes see that the engine does not have what they knew, and begin another epoch.
func decode(data []byte, mark uint64) engine.Record {
	p := parser{data: data, ok: len(data) > 0 && data[0] == version}
	if p.ok {
		p.data = data[1:]
	}
	r := engine.Record{Place: engine.Place{Epoch: p.number(), Mark: mark}}
	start := p.number()
	r.Prev = p.number()
	r.ID = string(p.bytes())
	if n := p.number(); n > 0 && n <= uint64(len(p.data)) { // each has a length
		r.Batch = make([][]byte, n)
	} else if n > 0 {
		p.ok = false
	}
	for i := range r.Batch {
		r.Batch[i] = p.bytes()
	}
	r.Seq = start + uint64(len(r.Batch))
	if !p.ok || len(p.data) > 0 || r.Epoch == 0 || r.Seq < start {
		return engine.Record{Place: engine.Place{Epoch: 1, Mark: mark}}
	}
	return r
}

// A parser takes what was encoded from the front of data.
type parser struct {
	data []byte
	ok   bool
}

func (p *parser) number() uint64 {
	n, size := binary.Uvarint(p.data)
	if !p.ok || size <= 0 {
		p.ok = false
		return 0
	}
	p.data = p.data[size:]
	return n
}

func (p *parser) bytes() []byte {
	n := p.number()
	if n > uint64(len(p.data)) {
		p.ok = false
		return nil
	}
	var b []byte
	b, p.data = p.data[:n:n], p.data[n:]
	return b
}

// longestName is the longest name of a chat that is part of a subject as it is.
const longestName = 100

// appendToken appends the name of a chat as one token of a subject. It has a letter before it,
// because the name may be empty.
func appendToken(subject []byte, chat string) []byte {
	if len(chat) > longestName {
		sum := sha256.Sum256([]byte(chat))
		return encoding.AppendEncode(append(subject, 'h'), sum[:])
	}
	var name [longestName]byte
	return encoding.AppendEncode(append(subject, 'n'), name[:copy(name[:], chat)])
}

var encoding = base32.HexEncoding.WithPadding(base32.NoPadding)
