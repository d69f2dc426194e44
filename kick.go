package broadcast

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Kick ends the subscription of a device to a chat with exactly the given reason, or with
// [ErrKicked] if that is nil, and discards what was buffered. Readers with [WithPresence] get
// [Left] at once, except during [Broker.Shutdown], when nobody is told who leaves. Kick also ends
// the leave grace of a device that has left, see [WithLeaveGrace].
//
// With [WithEngine], Kick also ends the subscription of a device on another broker, if
// [Broker.Devices] has it here: a moment later, and only if it is not newer than the one that this
// broker knows. Its reason is ErrKicked, or an error that wraps ErrKicked and has the text of the
// given reason, cut to 1024 bytes: other errors that the reason wraps do not reach the other
// broker. Let the reason wrap ErrKicked, so that it does so on any broker: sockets, for example,
// then close with the same code. Kick does not wait for that. While the engine cannot be reached, the kick waits too; it
// is lost if this broker ends or forgets the chat first, or if ten repetitions are lost.
//
// Kick does not block. It returns false, and does nothing, if the device is not present in the
// chat, as far as this broker knows. It does not keep the device from subscribing again.
func (b *Broker[T]) Kick(chat, device string, reason error) bool {
	if !b.valid() {
		return false
	}
	c, ok := b.chats.Load(chat)
	if !ok {
		return false
	}
	ended, present, elsewhere := c.kick(device, reason)
	if ended != nil {
		b.signalEnd(ended)
	}
	if elsewhere {
		c.feed.node.Kick(device, kickText(reason))
	}
	if ended != nil {
		b.runEndHooks(ended)
	}
	return present
}

// kick ends the subscription of a device, or the leave grace of one that has left. It reports
// whether the device was present, and whether another node has it. It returns the subscription, if
// there was one, for shared.finish.
func (c *chat[T]) kick(
	device string, reason error,
) (ended *Subscriber[T], present, elsewhere bool) {
	c.gate.Lock()
	defer c.gate.Unlock()
	elsewhere = c.feed.hasLocked(device) && !c.endedLocked()
	ended, present = c.kickLocked(device, reason)
	return ended, present || elsewhere, elsewhere
}

// kickLocked is kick for this node.
func (c *chat[T]) kickLocked(device string, reason error) (ended *Subscriber[T], present bool) {
	if reason == nil {
		reason = ErrKicked
	}
	if ended = c.readers.Get(device); ended != nil {
		c.feed.departLocked(device, true)
		c.endLocked(ended, reason, false)
		present = true
	}
	// From the grace that has just begun, or from an earlier one.
	if !c.endedLocked() && c.presence.Return(device) {
		if ended == nil {
			c.feed.departLocked(device, true)
		}
		c.leftLocked(device)
		c.shared.agenda.Schedule(c, time.Now()) // the chat may have been remembered for it alone
		present = true
	}
	return ended, present
}

// maxKickText bounds what a kick on another node has as its reason, in bytes.
const maxKickText = 1024

// kickText returns the reason of a kick as another node gets it, empty for ErrKicked.
func kickText(reason error) string {
	if reason == nil || reason == ErrKicked {
		return ""
	}
	text := strings.ToValidUTF8(fmt.Sprint(reason), "\uFFFD") // Error may panic, for a nil pointer
	n := min(len(text), maxKickText)
	for n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// kickReason returns the reason with a text.
func kickReason(text string) error {
	if text == "" {
		return ErrKicked
	}
	return kickError(text)
}

// A kickError is the reason of a kick by another node. It is an [ErrKicked].
type kickError string

// Error returns the text of the reason.
func (e kickError) Error() string { return string(e) }

// Unwrap returns ErrKicked.
func (e kickError) Unwrap() error { return ErrKicked }
