package stream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fbd86cad/broadcast"
)

// The close codes of a connection. Those below 4000 are those of RFC 6455 and its registry.
const (
	codeNormal    = 1000
	codeGoingAway = 1001
	codePolicy    = 1008
	codeInternal  = 1011
	codeTryLater  = 1013
	codeReplaced  = 4001
	codeKicked    = 4003
)

const internalError = "internal error" // the text of codeInternal

// A CodeError is a reason that has a close code of its own.
type CodeError struct {
	Code int
	Text string
}

// Error returns the text.
func (e *CodeError) Error() string { return e.Text }

// IsInternal reports whether a reason is unexpected: it has no close code of its own.
func IsInternal(reason error) bool {
	code, _ := CodeOf(reason)
	return code == codeInternal
}

// CodeOf returns the close code and the text for the reason of an end.
func CodeOf(reason error) (code int, text string) {
	_, code, text = classify(reason)
	return code, text
}

// The reasons for ends in Stats.
const (
	reasonDrained    = "drained"    // the server or the broker shuts down
	reasonEnded      = "ended"      // the chat has ended
	reasonFailed     = "failed"     // anything else
	reasonKicked     = "kicked"     // by Broker.Kick
	reasonLeft       = "left"       // the client has closed it, or it broke
	reasonOverloaded = "overloaded" // Receive returned ErrOverloaded
	reasonReplaced   = "replaced"   // by a newer connection of the device
	reasonSilent     = "silent"     // the client did not answer pings
	reasonSlow       = "slow"       // the subscription was too slow, or stalled
	reasonTimeout    = "timeout"    // the client did not read in time
	reasonViolation  = "violation"  // the client sent what is refused, or the reason is a Refusal
)

// classify returns the word that Stats has for the reason of an end, the close code, and its text.
func classify(reason error) (word string, code int, text string) {
	var refusal *Refusal
	var coded *CodeError
	switch {
	case errors.As(reason, &coded):
		return reasonViolation, coded.Code, coded.Text
	case errors.Is(reason, ErrLeft):
		return reasonLeft, codeNormal, ""
	case errors.Is(reason, broadcast.ErrReplaced):
		return reasonReplaced, codeReplaced, "replaced by a newer connection of the same device"
	case errors.Is(reason, broadcast.ErrEnded): // whatever else its reason is
		return reasonEnded, codeNormal, strings.TrimPrefix(reason.Error(), "broadcast: ")
	case errors.Is(reason, broadcast.ErrKicked):
		return reasonKicked, codeKicked, strings.TrimPrefix(reason.Error(), "broadcast: ")
	case errors.Is(reason, broadcast.ErrSlow):
		return reasonSlow, codeTryLater, "too slow: the buffer was full"
	case errors.Is(reason, broadcast.ErrStalled):
		return reasonSlow, codeTryLater, "too slow: nothing was read for too long"
	case errors.Is(reason, ErrTimeout):
		return reasonTimeout, codeTryLater, ErrTimeout.Error()
	case errors.Is(reason, broadcast.ErrOverloaded):
		return reasonOverloaded, codeTryLater, "overloaded"
	case errors.Is(reason, ErrDrained), errors.Is(reason, broadcast.ErrClosed):
		return reasonDrained, codeGoingAway, ErrDrained.Error()
	case errors.As(reason, &refusal) && refusal != nil:
		return reasonViolation, codePolicy, refusal.Error()
	case errors.Is(reason, ErrSilent): // a code that nobody is sent
		return reasonSilent, codeInternal, internalError
	}
	return reasonFailed, codeInternal, internalError
}

// CloseCodeOf returns the close code and the text for the reason of an end, as the options define
// them. The words are UTF-8, whatever they come from: a client takes anything else for a breach of
// the protocol, and not for a reason.
func (c *Core[T]) CloseCodeOf(reason error, about About) (code int, text string) {
	code, text = c.wantedCode(reason, about)
	return code, strings.ToValidUTF8(text, "\uFFFD")
}

func (c *Core[T]) wantedCode(reason error, about About) (code int, text string) {
	code, text = CodeOf(reason)
	if c.CloseCode == nil {
		return code, text
	}
	wanted, words, err := c.tryCloseCode(reason)
	if err != nil {
		c.Fail("CloseCode failed", about, err)
		return code, text
	}
	return wanted, words
}

func (c *Core[T]) tryCloseCode(reason error) (code int, text string, err error) {
	defer RecoverAs(&err)
	if code, text = c.CloseCode(reason); !sendable(code) {
		err = fmt.Errorf("%d is no close code that can be sent", code)
	}
	return code, text, err
}

// sendable reports whether RFC 6455 allows a code in a close frame.
func sendable(code int) bool {
	switch code {
	case 1004, 1005, 1006:
		return false
	}
	return code >= 1000 && code <= 1014 || code >= 3000 && code <= 4999
}
