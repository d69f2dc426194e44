package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxText is the longest text, in bytes of UTF-8.
const maxText = 4096

// maxID is the largest integer that JavaScript's numbers hold exactly.
const maxID = 1<<53 - 1

// id is the number of a chat or of a device: 1 to maxID.
type id int64

// String returns the number as the library's name for the chat or device.
func (n id) String() string { return strconv.FormatInt(int64(n), 10) }

// parseID reads a number as JSON and a query give it: digits, nothing else.
func parseID(field, text string) (id, error) {
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil || n == 0 {
		return 0, bad(field, "%s must be one integer from 1 to %d", field, int64(maxID))
	}
	return id(n), nil
}

// queryOne returns the value of a parameter that may be given once.
func queryOne(query url.Values, field string) (string, error) {
	if len(query[field]) > 1 {
		return "", bad(field, "%s is given twice", field)
	}
	return query.Get(field), nil
}

// queryID returns the id that a query gives exactly once.
func queryID(query url.Values, field string) (id, error) {
	text, err := queryOne(query, field)
	if err != nil {
		return 0, err
	}
	return parseID(field, text)
}

// post is the body of POST /message.
type post struct {
	Text     string
	By, Chat id
}

// decodePost reads exactly one JSON object with exactly the fields of a post, each once and in this spelling, which encoding/json alone
// does not insist on.
func decodePost(body []byte) (p post, err error) {
	fields, err := decodeObject(body)
	if err != nil {
		return p, err
	}
	for _, field := range []string{"text", "by", "chat"} {
		if fields[field] == nil {
			return p, bad(field, "%s is missing", field)
		}
	}
	if p.By, err = parseID("by", string(fields["by"])); err != nil {
		return p, err
	}
	if p.Chat, err = parseID("chat", string(fields["chat"])); err != nil {
		return p, err
	}
	p.Text, err = decodeText(fields["text"])
	return p, err
}

// decodeObject returns the fields of the one object that body must be.
func decodeObject(body []byte) (map[string]json.RawMessage, error) {
	wrong := bad("", "body must be one JSON object in UTF-8, and nothing else")
	dec := json.NewDecoder(bytes.NewReader(body))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') || !utf8.Valid(body) {
		return nil, wrong
	}
	fields := make(map[string]json.RawMessage)
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, wrong
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, wrong
		}
		field := fmt.Sprint(key)
		if err := checkField(field, fields[field] != nil); err != nil {
			return nil, err
		}
		fields[field] = value
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, wrong
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, wrong
	}
	return fields, nil
}

func checkField(field string, again bool) error {
	switch field {
	case "text", "by", "chat":
		if again {
			return bad(field, "%s is given twice", field)
		}
		return nil
	case "at", "id", "seq":
		return bad(field, "%s is set by the server", field)
	}
	if r := []rune(field); len(r) > 32 {
		field = string(r[:32]) + "…"
	}
	return bad(field, "field %q is unknown", field)
}

func decodeText(value json.RawMessage) (text string, err error) {
	if value[0] != '"' || json.Unmarshal(value, &text) != nil {
		return "", bad("text", "text must be a string")
	}
	if strings.TrimSpace(text) == "" || len(text) > maxText {
		return "", bad("text", "text has %d bytes; it must have 1 to %d, and not only spaces", len(text), maxText)
	}
	return text, nil
}
