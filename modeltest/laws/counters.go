package main

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// sumCounters adds up the counters that [coverage.WriteCounters] has written, as version 1 of the
// format, described in internal/coverage of the standard library, has them.
func sumCounters(r *strings.Reader) (sum uint64, err error) {
	var head struct {
		Magic       [4]byte
		Version     uint32
		Hash        [16]byte
		Flavor      uint8
		BigEndian   bool
		_           [6]byte
		Functions   uint64
		StringBytes uint32
		ArgBytes    uint32
	}
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return 0, err
	}
	const uleb128 = 2
	if head.Magic != [4]byte{0, 'c', 'w', 'm'} || head.Version != 1 || head.Flavor != uleb128 || head.BigEndian {
		return 0, errors.New("coverage counters of a format that is not known")
	}
	if _, err := r.Seek(int64(head.StringBytes)+int64(head.ArgBytes), io.SeekCurrent); err != nil {
		return 0, err
	}
	for range head.Functions {
		var n uint64
		for i := uint64(0); i < 3+n; i++ { // how many counters, package, function, counters
			v, err := binary.ReadUvarint(r)
			switch {
			case err != nil:
				return 0, err
			case i == 0:
				n = v
			case i >= 3:
				sum += v
			}
		}
	}
	return sum, nil
}
