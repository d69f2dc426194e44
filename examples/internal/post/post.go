// Package post is the messages that the examples with an HTTP interface take in: {"text":"hello","by":7,"chat":1}.
package post

import (
	"net/http"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// What is too much, in bytes. The longest text fits a body, however badly JSON escapes it.
const (
	MaxText = 4096
	MaxBody = 64 << 10
)

// Message is what somebody says to a chat.
type Message struct {
	Text     string
	By, Chat httpjson.ID
}

// Read returns the message that is the body of r, or an [httpjson.Error] that says what is wrong with it: see [httpjson.ReadBody] and
// [httpjson.DecodeObject]. It blocks until the body is there.
func Read(w http.ResponseWriter, r *http.Request) (m Message, err error) {
	body, err := httpjson.ReadBody(w, r, MaxBody)
	if err != nil {
		return m, err
	}
	fields, err := httpjson.DecodeObject(body, []string{"text", "by", "chat"}, "at", "id", "seq")
	if err != nil {
		return m, err
	}
	if m.Text, err = fields.Text("text", MaxText); err != nil {
		return m, err
	}
	if m.By, err = fields.ID("by"); err != nil {
		return m, err
	}
	m.Chat, err = fields.ID("chat")
	return m, err
}
