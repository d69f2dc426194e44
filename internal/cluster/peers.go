package cluster

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"
)

// Times of presence.
const (
	beatInterval = time.Second     // between two heartbeats of a node
	deadAfter    = 5 * time.Second // without a heartbeat a node is dead
	firstRepeat  = time.Second     // after a change of devices
)

// clock issues tickets. Each is larger than all that it has issued or seen from other nodes. It is
// a hybrid logical clock (Kulkarni et al. 2014) without a separate counter.
type clock struct {
	mu   sync.Mutex
	last uint64
}

func (k *clock) next() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = max(k.last+1, uint64(time.Now().UnixMicro()))
	return k.last
}

// see notes the ticket of another node.
func (k *clock) see(ticket uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = max(k.last, ticket)
}

// mail sends the notes of a node, in their order, on a goroutine that runs while there are any.
type mail struct {
	node *Node

	mu      sync.Mutex
	waiting []letter
	running bool
}

type letter struct {
	subject string
	note    note
}

// mostLetters bounds what waits to be sent. What does not fit is lost, like any note may be.
const mostLetters = 1 << 14

// send sends a note to the nodes that follow a chat, or to all if the subject is empty. It may be
// called with the lock of a chat held.
func (m *mail) send(subject string, n note) {
	n.Node = m.node.name
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == mostLetters {
		return
	}
	m.waiting = append(m.waiting, letter{subject, n})
	if !m.running {
		m.running = m.node.begin(m.run)
	}
}

func (m *mail) run() {
	for letters := m.take(); len(letters) > 0; letters = m.take() {
		for _, l := range letters {
			if live := m.node.live.Load(); live != nil {
				_ = live.Send(l.subject, l.note.encode()) // notes may be lost
			}
		}
	}
}

func (m *mail) take() (letters []letter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters, m.waiting = m.waiting, nil
	m.running = len(letters) > 0
	return letters
}

// peers knows which other nodes are alive.
type peers struct {
	mu         sync.Mutex
	heard      map[string]time.Time // when each was last heard
	introduced time.Time            // when this node told others of all its devices
}

// mayIntroduce reports whether this node should tell others of all its devices now. It does so at
// most once in a while, however many others ask.
func (p *peers) mayIntroduce() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.introduced) < beatInterval {
		return false
	}
	p.introduced = time.Now()
	return true
}

// hear notes that a node was heard. It reports whether the node was known.
func (p *peers) hear(node string) (known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known = p.heard[node]
	p.heard[node] = time.Now()
	return known
}

// hearAll treats all nodes as heard now, because nothing could be heard before.
func (p *peers) hearAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node := range p.heard {
		p.heard[node] = time.Now()
	}
}

// remove removes a node, and reports whether it was there.
func (p *peers) remove(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.heard[node]
	delete(p.heard, node)
	return ok
}

// dead returns the nodes that have not been heard for too long.
func (p *peers) dead() (nodes []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node, at := range p.heard {
		if time.Since(at) >= deadAfter {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// beat sends heartbeats and looks for nodes that have died, until the node is closed. While the
// engine is away, nobody is declared dead.
func (n *Node) beat() {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-n.ctx.Done():
			return
		}
		if n.live.Load() == nil {
			n.peers.hearAll()
			continue
		}
		n.mail.send("", note{Kind: noteBeat})
		for _, node := range n.peers.dead() {
			n.bury(node)
		}
	}
}

// bury forgets the devices of a node.
func (n *Node) bury(node string) {
	if n.peers.remove(node) {
		for _, c := range n.chats.All() {
			c.lost(node)
		}
	}
}

// Sent implements [engine.Sink].
func (s sink) Sent(subject string, data []byte) {
	var n note
	if json.Unmarshal(data, &n) != nil || n.Node == "" || n.Node == s.name {
		return
	}
	if n.Kind == noteBye {
		s.bury(n.Node)
		return
	}
	if !s.peers.hear(n.Node) { // it is new, or has been silent for long
		s.mail.send("", note{Kind: noteAsk, To: n.Node})
	}
	if c, ok := s.chats.Load(subject); ok {
		c.hear(n)
	} else if subject == "" {
		s.hear(n)
	}
}

// hear handles a note that was sent to all nodes.
func (n *Node) hear(heard note) {
	switch heard.Kind {
	case noteAsk:
		if heard.To == n.name && n.peers.mayIntroduce() {
			for _, c := range n.chats.All() {
				c.introduce()
			}
		}
	case notePoll:
		n.mail.send("", note{
			Kind: noteAnswer, To: heard.Node, Poll: heard.Poll, Yes: n.reply(heard),
		})
	case noteAnswer:
		if heard.To == n.name {
			n.polls.answer(heard)
		}
	}
}

// names returns the other nodes that are alive.
func (p *peers) names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.heard))
}

// len returns how many other nodes are alive.
func (p *peers) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.heard)
}
