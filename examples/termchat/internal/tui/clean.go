package tui

import (
	"strings"
	"unicode"
)

// clean returns s as one line of printable characters: white space becomes a blank; control
// characters, the beginnings of escape sequences, and characters that change the direction of
// writing are dropped. All text from others passes through it on its way to the screen.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return -1
		}
	}, strings.ToValidUTF8(s, "\ufffd"))
}
