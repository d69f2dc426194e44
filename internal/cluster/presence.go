package cluster

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// A Presence is a [Log] that is told which devices other nodes have in its chat. Its methods are
// called like those of a Log, but do not wait behind messages for which there is no room.
//
// A device that moves between other nodes may be reported gone for a moment.
type Presence interface {
	Log

	// Here says that another node has the device.
	Here(device string)

	// Gone says that no other node has the device any more. Calls of Here and Gone for a device
	// alternate.
	Gone(device string)

	// Replaced says that the device has subscribed on another node after it subscribed on this one.
	// The subscription for which Arrive returned the ticket must end, unless it already has.
	Replaced(device string, ticket uint64)

	// Kicked says that a node has kicked the device. The subscription for which Arrive returned the
	// ticket must end, unless it already has; reason is what [Feed.Kick] was given. If the ticket
	// is 0, the device was kicked on another node, and Gone was called if it has left that one: it
	// does not come back, so a device that is on no node has left.
	Kicked(device string, ticket uint64, reason string)
}

// Arrive says that a device has subscribed to the chat on this node, whether or not it had a
// subscription here before. It returns a ticket, which names the new subscription. Arrive and
// Depart do not block, and may be called with locks held that the log takes.
func (f *Feed) Arrive(device string) (ticket uint64) {
	ticket = f.chat.node.clock.next()
	f.setTicket(device, ticket, false)
	return ticket
}

// Depart says that a device has no subscription in the chat on this node any more, and whether it
// was kicked.
func (f *Feed) Depart(device string, kicked bool) { f.setTicket(device, 0, kicked) }

// setTicket notes a change of a device of this node, and tells the others.
func (f *Feed) setTicket(device string, ticket uint64, kicked bool) {
	c := f.chat
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.left {
		return
	}
	d := &f.devices
	if d.tickets == nil {
		d.tickets = make(map[string]uint64)
	}
	d.tickets[device] = ticket
	if ticket == 0 {
		delete(d.tickets, device)
	}
	d.version++
	d.repeatAt = time.Now().Add(firstRepeat)
	if c.feed == f {
		c.sayLocked(note{Kind: noteChange, Device: device, Ticket: ticket, Kicked: kicked})
		c.scheduleLocked()
	}
}

// A note is what nodes tell each other besides records, encoded as JSON: about devices and, in a
// poll, about chats. Notes may be lost.
//
// Each node counts the changes of its devices in a chat. The next change, or a repetition of the
// last number, shows a node that it has missed one; it then asks for the state. A state replaces
// whatever was known before.
type note struct {
	Kind    noteKind
	Node    string            // who says it
	To      string            `json:",omitempty"` // whom it asks or answers; everybody if empty
	Feed    uint64            `json:",omitempty"` // numbers the feeds of the node
	Version uint64            `json:",omitempty"` // counts the changes in the feed
	Device  string            `json:",omitempty"`
	Ticket  uint64            `json:",omitempty"` // of the device; 0 if it is gone
	Kicked  bool              `json:",omitempty"` // why it is gone
	Reason  string            `json:",omitempty"` // of a kick
	Devices map[string]uint64 `json:",omitempty"` // tickets
	Poll    uint64            `json:",omitempty"` // numbers the polls of the node
	Chat    string            `json:",omitempty"` // that a poll is about
	Place   *engine.Place     `json:",omitempty"` // up to which a poll asks; nil: about readers
	Yes     bool              `json:",omitempty"` // the answer to a poll
}

type noteKind uint8

const (
	noteBeat   noteKind = iota // the node lives; about no chat
	noteBye                    // the node ends; about no chat
	noteChange                 // a device has come or gone
	noteRepeat                 // the number of the last change
	noteState                  // all devices
	noteAsk                    // asks a node, or all, for the state; about no chat: of all chats
	noteKick                   // ends the subscriptions of a device up to a ticket
	notePoll                   // asks all nodes: has the chat readers, or does its log lag behind a place
	noteAnswer                 // the answer to a poll
)

// presence is the part of a chat that follows the devices of other nodes. The lock of the chat
// guards it. The maps are nil while the chat has no feed.
type presence struct {
	peers     map[string]*peer     // by the name of the node
	elsewhere map[string]int       // on how many other nodes each device is
	asks      map[string]time.Time // when each node was last asked for its state
	kicks
}

// devices is what a feed has of its own node.
type devices struct {
	tickets  map[string]uint64 // by device
	version  uint64
	repeatAt time.Time // when to repeat the version; zero before the first change
}

// peer is what a chat knows of another node.
type peer struct {
	feed, version uint64
	tickets       map[string]uint64
	heard         time.Time // its last note about the chat; it repeats one at each interval
}

// news is what the log has yet to be told of a device.
type news struct {
	kind   newsKind
	device string
	ticket uint64 // newsReplaced: the older one; newsKicked: 0 if it was on another node
	reason string // newsKicked
}

type newsKind uint8

const (
	newsHere newsKind = iota
	newsGone
	newsReplaced
	newsKicked
)

// tell tells a log.
func (e news) tell(p Presence) {
	switch e.kind {
	case newsHere:
		p.Here(e.device)
	case newsGone:
		p.Gone(e.device)
	case newsReplaced:
		p.Replaced(e.device, e.ticket)
	case newsKicked:
		p.Kicked(e.device, e.ticket, e.reason)
	}
}

// sayLocked sends a note about the feed to the nodes that follow the chat.
func (c *chat) sayLocked(n note) {
	if !c.followed || c.connection == nil {
		return // the state is sent when the chat is followed
	}
	n.Feed, n.Version = c.feed.id, c.feed.devices.version
	if n.Kind == noteState {
		n.Devices = maps.Clone(c.feed.devices.tickets)
	}
	c.node.mail.send(c.name, n)
}

// introduceLocked sends the state, and asks for that of others. The chat has just been followed, or
// the node has reconnected.
func (c *chat) introduceLocked() {
	if c.feed == nil || c.feed.presence == nil {
		return
	}
	for _, p := range c.peers {
		p.heard = time.Now() // it could not be heard before
	}
	if c.feed.devices.version > 0 {
		c.sayLocked(note{Kind: noteState})
	}
	c.sayLocked(note{Kind: noteAsk})
	c.sayKicksLocked()
}

// repeatLocked repeats the version of the feed if that is due: once soon after a change, then at
// each interval.
func (c *chat) repeatLocked(now time.Time) {
	if c.feed == nil || c.feed.devices.repeatAt.IsZero() || now.Before(c.feed.devices.repeatAt) {
		return
	}
	c.feed.devices.repeatAt = now.Add(checkInterval)
	c.sayLocked(note{Kind: noteRepeat})
}

// hear handles a note about the chat.
func (c *chat) hear(n note) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.feed == nil || c.feed.presence == nil {
		return
	}
	p := c.peers[n.Node]
	if p != nil && p.feed < n.Feed && n.Version == 0 { // a new feed, which has had no device yet
		p = &peer{feed: n.Feed}
		c.setPeerLocked(n.Node, p)
	}
	known := p != nil && p.feed == n.Feed
	newer := p == nil || p.feed < n.Feed || known && p.version < n.Version
	if known {
		p.heard = time.Now()
	}
	switch n.Kind {
	case noteAsk:
		if (n.To == "" || n.To == c.node.name) && c.feed.devices.version > 0 {
			c.sayLocked(note{Kind: noteState})
		}
	case noteState:
		if newer {
			c.setPeerLocked(n.Node, &peer{n.Feed, n.Version, n.Devices, time.Now()})
		}
	case noteChange:
		switch {
		case known && n.Version == p.version+1:
			p.version++
			c.changeLocked(p, n)
		case newer:
			c.askDevicesLocked(n.Node)
		}
	case noteRepeat:
		if newer {
			c.askDevicesLocked(n.Node)
		}
	case noteKick:
		c.kickedLocked(n)
	}
}

// askAgain is how long an answer may be on its way. A node that is asked for each change that comes
// meanwhile would send all its devices each time.
const askAgain = 100 * time.Millisecond

// askDevicesLocked asks a node for its state, unless it was asked just now. If that is lost, the
// next change or repetition asks again.
func (c *chat) askDevicesLocked(node string) {
	if time.Since(c.asks[node]) < askAgain {
		return
	}
	if c.asks == nil {
		c.asks = make(map[string]time.Time)
	}
	c.asks[node] = time.Now()
	c.sayLocked(note{Kind: noteAsk, To: node})
}

// changeLocked applies a change of one device of a peer.
func (c *chat) changeLocked(p *peer, n note) {
	_, had := p.tickets[n.Device]
	if n.Ticket == 0 {
		delete(p.tickets, n.Device)
		if had {
			c.countLocked(n.Device, -1)
		}
		if n.Kicked {
			c.feed.announceLocked(news{kind: newsKicked, device: n.Device})
		}
		return
	}
	if p.tickets == nil {
		p.tickets = make(map[string]uint64)
	}
	p.tickets[n.Device] = n.Ticket
	if !had {
		c.countLocked(n.Device, 1)
	}
	c.contendLocked(n.Device, n.Ticket, n.Node)
}

// setPeerLocked replaces what is known of a peer; nil if it has no devices any more. A device that
// it has kept is not reported.
func (c *chat) setPeerLocked(name string, now *peer) {
	if now == nil {
		now = &peer{}
	}
	before := c.peers[name]
	for device, ticket := range now.tickets {
		if before == nil || before.tickets[device] == 0 {
			c.countLocked(device, 1)
		}
		c.contendLocked(device, ticket, name)
	}
	if before != nil {
		for device := range before.tickets {
			if now.tickets[device] == 0 {
				c.countLocked(device, -1)
			}
		}
	}
	c.peers[name] = now
}

// countLocked counts on how many other nodes a device is.
func (c *chat) countLocked(device string, change int) {
	before := c.elsewhere[device]
	switch c.elsewhere[device] += change; {
	case before == 0:
		c.feed.announceLocked(news{kind: newsHere, device: device})
	case c.elsewhere[device] == 0:
		delete(c.elsewhere, device)
		c.feed.announceLocked(news{kind: newsGone, device: device})
	}
}

// contendLocked lets the newest ticket of a device win. Of equal ones, the larger name wins.
func (c *chat) contendLocked(device string, ticket uint64, node string) {
	c.node.clock.see(ticket)
	own, ok := c.feed.devices.tickets[device]
	if ok && (own < ticket || own == ticket && c.node.name < node) {
		c.feed.announceLocked(news{kind: newsReplaced, device: device, ticket: own})
	}
}

// meetLocked begins to follow the presence of the chat for a new feed.
func (c *chat) meetLocked() {
	c.presence = presence{peers: make(map[string]*peer), elsewhere: make(map[string]int)}
	if c.followed {
		c.introduceLocked()
	}
}

// introduce sends the state of the feed.
func (c *chat) introduce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.feed != nil && c.feed.devices.version > 0 {
		c.sayLocked(note{Kind: noteState})
	}
}

// dropDevicesLocked says that the feed, which ends, has no devices.
func (c *chat) dropDevicesLocked() {
	if d := &c.feed.devices; len(d.tickets) > 0 {
		d.tickets = nil
		d.version++
		c.sayLocked(note{Kind: noteState})
	}
}

// lost forgets the devices of a node that has died.
func (c *chat) lost(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers[node] != nil {
		c.removePeerLocked(node)
	}
}

func (c *chat) removePeerLocked(name string) {
	c.setPeerLocked(name, nil)
	delete(c.peers, name)
	delete(c.asks, name)
}

// expirePeersLocked forgets the devices of nodes that have missed two intervals. They may have left
// the chat when they could not be heard.
func (c *chat) expirePeersLocked(now time.Time) {
	for name, p := range c.peers {
		if now.Sub(p.heard) > 5*checkInterval/2 {
			c.removePeerLocked(name)
		}
	}
}

// announceLocked adds news for the log.
func (f *Feed) announceLocked(e news) {
	if f.presence != nil && !f.left {
		f.news = append(f.news, e)
		f.startLocked()
	}
}

// encode encodes a note, which cannot fail.
func (n note) encode() []byte {
	data, _ := json.Marshal(n)
	return data
}
