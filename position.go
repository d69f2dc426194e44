package broadcast

import (
	"strconv"
	"strings"
)

// Position is a place in the log of a chat: [Resume] begins after it. The zero value is none. Positions are comparable.
//
// A position names the log by its epoch, a random number, so that one which belongs to another chat, or to a chat that was
// forgotten meanwhile, is recognised.
type Position struct {
	epoch uint64 // never 0 but in the zero value
	seq   uint64
}

// String returns the position as text of at most 27 characters, letters, digits and a hyphen: safe in a URL and in a
// header. It is empty for the zero value.
func (p Position) String() string {
	if p.epoch == 0 {
		return ""
	}
	return strconv.FormatUint(p.epoch, 36) + "-" + strconv.FormatUint(p.seq, 36)
}

// MarshalText returns the text of String.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text of String. Anything else is [ErrInvalid], and leaves the position as it was.
func (p *Position) UnmarshalText(text []byte) error {
	var read Position
	if epoch, seq, ok := strings.Cut(string(text), "-"); ok {
		read.epoch, _ = strconv.ParseUint(epoch, 36, 64)
		read.seq, _ = strconv.ParseUint(seq, 36, 64)
	}
	if read.epoch == 0 && len(text) > 0 || read.String() != string(text) {
		return invalidf("%q is not a position", cut(string(text)))
	}
	*p = read
	return nil
}
