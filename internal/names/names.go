// Package names defines what the name of a chat or a device may be.
package names

import (
	"fmt"
	"unicode/utf8"
)

// maxName is the longest name, in bytes.
const maxName = 256

// Problem returns what is wrong with a name, which it calls what, or "" if the name is good: it
// must be UTF-8 of 1 to 256 bytes.
func Problem(what, name string) string {
	beginning := name[:min(len(name), 32)]
	switch {
	case name == "":
		return fmt.Sprintf("%s %q is empty", what, name)
	case len(name) > maxName:
		return fmt.Sprintf("%s %q… has %d bytes, more than %d", what, beginning, len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Sprintf("%s %q is not UTF-8", what, beginning)
	}
	return ""
}
