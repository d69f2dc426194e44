package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/names"
)

// maxMarks is how many combining marks one character may carry: as many as any script needs, and
// too few to write over the lines above.
const maxMarks = 4

// Line returns text as one line that a terminal shows and does not interpret: control characters
// become their pictures, and characters that hide or reorder others become their numbers. Use it
// for everything that came from somebody else.
func Line(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	marks := 0
	for _, r := range text { // what is not UTF-8 comes as U+FFFD
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case r < 0x20:
			b.WriteRune('\u2400' + r)
		case r == 0x7f:
			b.WriteRune('\u2421')
		case Hostile(r):
			fmt.Fprintf(&b, "<U+%04X>", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Hostile reports whether a character affects the terminal or the characters around it instead of
// being visible: C0 and C1 controls, bidirectional controls, other invisible formatting, separators
// of lines. The joiners that emoji and some scripts need are not hostile.
func Hostile(r rune) bool {
	switch {
	case r == '\u200c' || r == '\u200d':
		return false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co):
		return true
	case unicode.Is(unicode.Noncharacter_Code_Point, r):
		return true
	}
	return false
}

// Name returns the normal form of a name, or what is wrong with it; what is "room" or "name". Names
// have no angle brackets, because these enclose names in the output of -plain, and nobody may forge
// a line of somebody else. A name of dots alone would mean something else in a URL.
func Name(what, name string) (string, error) {
	name, err := names.Clean(what, name)
	if err == nil && (strings.ContainsAny(name, "<>") || strings.Trim(name, ".") == "" || Line(name) != name) {
		err = httpjson.Bad("%s has characters that a name must not have", what)
	}
	return name, err
}

// CheckText returns an error if a message is bad.
func CheckText(text string) error {
	switch {
	case !utf8.ValidString(text):
		return httpjson.Bad("text is not UTF-8")
	case len(text) > MaxText:
		return httpjson.Bad("text has %d bytes; it must have 1 to %d", len(text), MaxText)
	case !names.Visible(text):
		return httpjson.Bad("text is empty")
	}
	return nil
}

// FileName returns a client's name for a file in a form that can be shown: only its last element,
// on one line, not too long. Never use it as a path.
func FileName(name string) string {
	name = strings.ToValidUTF8(name, "\ufffd")
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	if !names.Visible(strings.ReplaceAll(name, ".", "")) {
		return "file"
	}
	name = strings.TrimSpace(Line(name))
	for len(name) > MaxFile {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}
