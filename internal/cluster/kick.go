package cluster

import "time"

// How often a kick is sent before it is given up.
const (
	kickInterval = time.Second
	kickSends    = 11
)

// kicks are the kicks of a chat that no other node has answered yet. The lock of the chat guards
// them.
type kicks struct {
	pending map[string]*kick // by device; nil if there are none
	kickAt  time.Time        // when to send them again; zero if there are none
}

// A kick ends the subscriptions of a device on other nodes.
type kick struct {
	ticket uint64 // newer subscriptions are not meant
	reason string
	sends  int // that are left
}

// Kick ends the subscriptions that a device has on other nodes, as far as this node knows of them:
// a newer one stays. Presence.Kicked gets the reason there. Kick does not block, and may be called
// with locks held that the log takes.
//
// A kick that is lost on its way is repeated, also after a reconnection, but not after the end of
// the feed.
func (f *Feed) Kick(device, reason string) {
	c := f.chat
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.feed != f {
		return
	}
	if c.pending == nil {
		c.pending, c.kickAt = make(map[string]*kick), time.Now().Add(kickInterval)
		c.scheduleLocked()
	}
	// A ticket of 0, of a device that has left, ends nothing, and is not repeated.
	k := &kick{ticket: c.newestLocked(device), reason: reason, sends: kickSends}
	c.pending[device] = k
	c.sayKickLocked(device, k)
}

// newestLocked returns the newest ticket of a device on other nodes, or 0.
func (c *chat) newestLocked(device string) (ticket uint64) {
	for _, p := range c.peers {
		ticket = max(ticket, p.tickets[device])
	}
	return ticket
}

// sayKickLocked sends a kick, unless the engine is away: then it waits for introduceLocked.
func (c *chat) sayKickLocked(device string, k *kick) {
	if c.followed && c.connection != nil {
		k.sends--
		c.sayLocked(note{Kind: noteKick, Device: device, Ticket: k.ticket, Reason: k.reason})
	}
}

// sayKicksLocked sends all kicks again, but for those that have had their effect or are given up.
func (c *chat) sayKicksLocked() {
	for device, k := range c.pending {
		if ticket := c.newestLocked(device); ticket == 0 || ticket > k.ticket || k.sends == 0 {
			delete(c.pending, device)
			continue
		}
		c.sayKickLocked(device, k)
	}
}

// repeatKicksLocked sends all kicks again if that is due.
func (c *chat) repeatKicksLocked(now time.Time) {
	if c.kickAt.IsZero() || now.Before(c.kickAt) {
		return
	}
	c.sayKicksLocked()
	if len(c.pending) == 0 {
		c.kicks = kicks{}
		return
	}
	c.kickAt = now.Add(kickInterval)
}

// kickedLocked handles the kick of another node.
func (c *chat) kickedLocked(n note) {
	if own, ok := c.feed.devices.tickets[n.Device]; ok && own <= n.Ticket {
		c.feed.announceLocked(news{
			kind: newsKicked, device: n.Device, ticket: own, reason: n.Reason,
		})
	}
}
