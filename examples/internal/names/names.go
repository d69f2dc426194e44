// Package names checks what people call themselves and say: that it can be seen, and that what
// looks alike for reasons of encoding is the same.
package names

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// Max is the longest name, in characters.
const Max = 40

// Clean returns the one form of a name: composed, without characters of compatibility, without
// spaces around it. It refuses names with characters that cannot be seen, with an error that names
// the field.
func Clean(field, name string) (string, error) {
	name, err := precis.Nickname.String(name)
	first, _ := utf8.DecodeRuneInString(name)
	if err != nil || strings.ContainsFunc(name, isInvisible) || unicode.Is(unicode.M, first) {
		return "", httpjson.Bad("%s must be a name, of characters that can be seen", field)
	}
	if utf8.RuneCountInString(name) > Max {
		return "", httpjson.Bad("%s has more than %d characters", field, Max)
	}
	return name, nil
}

// Visible reports whether a text has any visible character.
func Visible(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return !isInvisible(r) && !unicode.IsSpace(r) })
}

// isInvisible reports whether a character, other than a space, shows nothing by itself.
func isInvisible(r rune) bool {
	if r == '\u2800' || r == '\U0001d159' { // symbols without ink
		return true
	}
	return !unicode.IsGraphic(r) ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
