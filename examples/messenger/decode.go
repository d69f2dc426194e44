package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxText is the longest text, in bytes of UTF-8. Escaped as badly as JSON can, it still fits maxBody.
const maxText = 4096

// post is the body of POST /message.
type post struct {
	Text     string
	By, Chat id
}

// decodePost reads exactly one JSON object with exactly the fields of a post. It walks the tokens itself, because encoding/json
// would let pass a field in another case, a field given twice, and whatever follows the object.
func decodePost(body []byte) (post, error) {
	var p post
	if !utf8.Valid(body) {
		return p, refuse(http.StatusBadRequest, "", "body is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return p, errNoObject
	}
	missing := map[string]any{"text": &p.Text, "by": &p.By, "chat": &p.Chat}
	for dec.More() {
		if err := decodeField(dec, missing); err != nil {
			return p, err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return p, errNoObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return p, refuse(http.StatusBadRequest, "", "body must be one JSON object and nothing else")
	}
	for _, field := range postFields {
		if missing[field] != nil {
			return p, refuse(http.StatusBadRequest, field, "%s is missing", field)
		}
	}
	return p, p.check()
}

// postFields are the fields of a post, all of them required.
var postFields = []string{"text", "by", "chat"}

var errNoObject = refuse(http.StatusBadRequest, "", "body is not a JSON object")

// decodeField reads one field and strikes it from those that are missing.
func decodeField(dec *json.Decoder, missing map[string]any) error {
	token, err := dec.Token()
	field, ok := token.(string)
	if err != nil || !ok {
		return errNoObject
	}
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return errNoObject
	}
	target := missing[field]
	switch {
	case field == "at" || field == "seq":
		return refuse(http.StatusBadRequest, field, "%s is set by the server", field)
	case !slices.Contains(postFields, field):
		return refuse(http.StatusBadRequest, shorten(field), "field %q is unknown", shorten(field))
	case target == nil:
		return refuse(http.StatusBadRequest, field, "%s is given twice", field)
	case json.Unmarshal(value, target) != nil:
		return wrongType(field)
	}
	delete(missing, field)
	return nil
}

func wrongType(field string) error {
	if field == "text" {
		return refuse(http.StatusBadRequest, field, "text must be a string")
	}
	return badID(field)
}

// check returns an error that names the limit that p breaks.
func (p post) check() error {
	switch {
	case strings.TrimSpace(p.Text) == "":
		return refuse(http.StatusBadRequest, "text", "text is empty; it must have 1 to %d bytes", maxText)
	case len(p.Text) > maxText:
		return refuse(http.StatusBadRequest, "text", "text has %d bytes; it must have 1 to %d", len(p.Text), maxText)
	case !p.By.valid():
		return badID("by")
	case !p.Chat.valid():
		return badID("chat")
	}
	return nil
}

// shorten returns the start of a name that a client chose, to quote it.
func shorten(name string) string {
	if r := []rune(name); len(r) > 32 {
		return string(r[:32]) + "…"
	}
	return name
}
