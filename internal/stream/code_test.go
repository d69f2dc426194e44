package stream

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast"
)

// Promise 88: a client takes a text that is not UTF-8 for a breach of the protocol.
func TestTheWordsOfAReasonAreUTF8WhoeverChoseThem(t *testing.T) {
	kicked := fmt.Errorf("%w: not \xff", broadcast.ErrKicked)
	for name, closeCode := range map[string]func(error) (int, string){
		"the default": nil,
		"an option":   func(error) (int, string) { return 4003, "kicked: not \xff" },
	} {
		core := newCore(t, func(c *Config[string]) { c.CloseCode = closeCode })
		code, text := core.CloseCodeOf(kicked, About{})
		assert.Equal(t, 4003, code, name)
		assert.Equal(t, "kicked: not \uFFFD", text, name)
	}
}
