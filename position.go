package broadcast

import (
	"strconv"
	"strings"

	"github.com/fbd86cad/broadcast/internal/numbering"
)

// A Position is a place in the log of a chat, between two messages: [Resume] continues from there.
// Positions are comparable with ==. The zero value is no position.
//
// A position identifies its log by a random number, so that a position of another chat, or of a
// chat that was forgotten meanwhile, is recognized as such. With [WithEngine], that log is the one
// of all brokers: a position stays valid until the name of the chat is free again, or the engine
// loses its memory of the chat.
type Position struct {
	epoch uint64 // never 0 but in the zero value
	seq   uint64
}

// positionIn returns the position after a message of a span.
func (c *chat[T]) positionIn(numbers *numbering.Span, index uint64) Position {
	return Position{c.numbers.Epoch(numbers), numbers.Number(index)}
}

// String returns the position as text of at most 27 letters, digits, and hyphens. It can be used in
// a URL or a header as it is. The zero value is the empty string.
func (p Position) String() string {
	if p.epoch == 0 {
		return ""
	}
	return strconv.FormatUint(p.epoch, 36) + "-" + strconv.FormatUint(p.seq, 36)
}

// MarshalText implements [encoding.TextMarshaler]. It returns the text of String.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts only text returned by String. For
// any other it returns an [ErrInvalid] and does not change the position.
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
