package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
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

// CheckName returns an error if the name of a room or a person is bad; what says which of the two
// it is.
func CheckName(what, name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("%s is not UTF-8", what)
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case utf8.RuneCountInString(name) > MaxName:
		return fmt.Errorf("%s has more than %d characters", what, MaxName)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%s begins or ends with a space", what)
	case Line(name) != name || strings.ContainsFunc(name, invisible):
		return fmt.Errorf("%s has characters that cannot be shown", what)
	}
	return nil
}

// invisible reports whether a character could make two different names look alike: joiners, and all
// spaces but the plain one.
func invisible(r rune) bool {
	return r == '\u200c' || r == '\u200d' || r != ' ' && unicode.IsSpace(r) || !unicode.IsGraphic(r)
}

// CheckText returns an error if a message is bad.
func CheckText(text string) error {
	switch {
	case !utf8.ValidString(text):
		return fmt.Errorf("text is not UTF-8")
	case strings.TrimSpace(text) == "":
		return fmt.Errorf("text is empty")
	case len(text) > MaxText:
		return fmt.Errorf("text has %d bytes; it must have 1 to %d", len(text), MaxText)
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
	name = strings.TrimSpace(Line(name))
	for len(name) > MaxFile {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if strings.Trim(name, ". ") == "" {
		return "file"
	}
	return name
}
