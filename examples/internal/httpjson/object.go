package httpjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Object is the fields of a JSON object.
type Object map[string]json.RawMessage

var (
	errNoObject = Bad("", "body is not a JSON object")
	errNotOne   = Bad("", "body must be one JSON object and nothing else")
	errNotUTF8  = Bad("", "body is not UTF-8")
)

// DecodeObject reads exactly one JSON object with exactly these fields, each once. For fields that
// only the server may set, the error says so. DecodeObject reads the tokens itself, because
// encoding/json would accept a field name in another case, a duplicate field, and anything after
// the object. The error is an [Error] with 400, which names the bad field if there is one.
func DecodeObject(body []byte, fields []string, servers ...string) (Object, error) {
	if !utf8.Valid(body) {
		return nil, errNotUTF8
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, errNoObject
	}
	o := make(Object)
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, errNoObject
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNoObject
		}
		if err := o.add(name, value, fields, servers); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, errNoObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotOne
	}
	for _, name := range fields {
		if o[name] == nil {
			return nil, Bad(name, "%s is missing", name)
		}
	}
	return o, nil
}

func (o Object) add(name string, value json.RawMessage, fields, servers []string) error {
	switch {
	case slices.Contains(servers, name):
		return Bad(name, "%s is set by the server", name)
	case !slices.Contains(fields, name):
		return Bad(shorten(name), "field %q is unknown", shorten(name))
	case o[name] != nil:
		return Bad(name, "%s is given twice", name)
	}
	o[name] = value
	return nil
}

// shorten returns the beginning of a name that a client chose, for use in an error message.
func shorten(name string) string {
	if r := []rune(name); len(r) > 32 {
		return string(r[:32]) + "…"
	}
	return name
}

// Text returns a field that must be a string of 1 to limit bytes of UTF-8, not all of them spaces.
func (o Object) Text(field string, limit int) (text string, err error) {
	if value := o[field]; len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &text) != nil {
		return "", Bad(field, "%s must be a string", field)
	}
	if halfPairs(string(o[field])) {
		return "", Bad(field, "%s has half a surrogate pair", field)
	}
	if strings.TrimSpace(text) == "" || len(text) > limit {
		return "", Bad(field, "%s has %d bytes; it must have 1 to %d, and not only spaces", field, len(text), limit)
	}
	return text, nil
}

// ID returns a field that must be an [ID].
func (o Object) ID(field string) (ID, error) { return parseID(field, string(o[field])) }

// halfPairs reports whether a string of JSON has an escape for half a character, which encoding/json
// would replace.
func halfPairs(text string) bool {
	high := false // the escape before was the first half
	for len(text) > 0 {
		size, half := 1, false
		if strings.HasPrefix(text, `\`) {
			size = 2
		}
		if strings.HasPrefix(text, `\u`) && len(text) >= 6 {
			size = 6
			unit, _ := strconv.ParseUint(text[2:6], 16, 16) // it was valid JSON
			if unit >= 0xdc00 && unit <= 0xdfff {
				if !high {
					return true
				}
				high, text = false, text[size:]
				continue
			}
			half = unit >= 0xd800 && unit <= 0xdbff
		}
		if high {
			return true
		}
		high, text = half, text[size:]
	}
	return high
}
