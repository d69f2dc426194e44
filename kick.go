package broadcast

import "time"

// Kick ends the subscription of a device to a chat with exactly the given reason, or with
// [ErrKicked] if that is nil, and discards what was buffered. Readers with [WithPresence] get
// [Left] at once, except during [Broker.Shutdown], when nobody is told who leaves. Kick also ends
// the leave grace of a device that has left, see [WithLeaveGrace].
//
// With [WithEngine], Kick acts on devices that are subscribed to this broker.
//
// Kick does not block. It returns false, and does nothing, if the device is not present in the
// chat. It does not keep the device from subscribing again.
func (b *Broker[T]) Kick(chat, device string, reason error) bool {
	if !b.valid() {
		return false
	}
	c, ok := b.chats.Load(chat)
	if !ok {
		return false
	}
	if reason == nil {
		reason = ErrKicked
	}
	ended, present := c.kick(device, reason)
	if ended != nil {
		b.finish(ended)
	}
	return present
}

// kick ends the subscription of a device, or the leave grace of one that has left. It reports
// whether the device was present, and returns the subscription, if there was one, for
// shared.finish.
func (c *chat[T]) kick(device string, reason error) (ended *Subscriber[T], present bool) {
	c.gate.Lock()
	defer c.gate.Unlock()
	if ended = c.readers.Get(device); ended != nil {
		c.endLocked(ended, reason, false)
		present = true
	}
	// From the grace that has just begun, or from an earlier one.
	if !c.endedLocked() && c.presence.Return(device) {
		c.leftLocked(device)
		c.shared.agenda.Schedule(c, time.Now()) // the chat may have been remembered for it alone
		present = true
	}
	return ended, present
}
