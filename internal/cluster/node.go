package cluster

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/background"
	"github.com/fbd86cad/broadcast/internal/registry"
)

// Times and sizes of the work in the background.
const (
	callTimeout   = 2 * time.Second        // of one call of the session
	conflictWait  = 20 * time.Millisecond  // for the record that caused a conflict
	firstCheck    = 250 * time.Millisecond // after following a chat
	checkInterval = 30 * time.Second       // between two checks of a chat
	minBackoff    = 10 * time.Millisecond  // after a call that failed
	maxBackoff    = time.Second            // after many
	visitSlack    = 5 * time.Millisecond   // by which visits may be late
	closeTimeout  = 500 * time.Millisecond // of closing the session
)

// A Config holds the options of a [Node].
type Config struct {
	// Timeout is the longest wait of one Publish; 0 means that only its context ends it.
	Timeout time.Duration

	// Refuse makes Publish return ErrAway at once while the engine cannot be reached. Otherwise it
	// waits.
	Refuse bool
}

// A Node takes part in the order of chats on behalf of one broker. Make one with [Start], and end
// it with [Node.Close]. All methods are safe for concurrent use.
type Node struct {
	config Config
	name   string // part of the ids of its records; random
	chats  *registry.Map[*chat]
	agenda *background.Agenda[*chat] // chats, by when they try again and are checked

	follows batcher // chats to follow, and no longer to follow
	asks    batcher // chats that ask for their newest record
	calls   calls   // of Append

	ctx    context.Context // of all calls of the session that have one; done when the node is closed
	cancel context.CancelFunc

	records  atomic.Uint64 // counts the records of this node, for their ids; orders nothing
	feeds    atomic.Uint64 // counts feeds, for their ids; orders nothing
	clock    clock
	mail     mail
	feeders  feeders
	peers    peers
	polls    polls
	messages background.Tracker // those whose publishers wait for a result

	// closing is set once, by Close. Chats load it under their locks after a message has entered
	// the queue, and Close visits all chats after it has set it. So no message stays in a queue.
	closing atomic.Bool

	counters counters

	// live is the connection while the engine can be reached, otherwise nil. Stored under mu, and
	// loaded by each chat before it decides anything: when it differs from the one that the chat
	// knows, what the chat knows of the engine is out of date.
	live atomic.Pointer[connection]

	mu      sync.Mutex
	tasks   sync.WaitGroup // goroutines; entered under mu while the node is open
	closed  bool
	session engine.Session // nil until it is open
	up      bool           // the last word of the session
	since   time.Time
	reason  string // why the engine cannot be reached; empty since the last Up(true)
	changed bool   // live was stored, and a goroutine is about to tell the chats
}

// A connection is a session from one call of Up(true) to the next of Up.
type connection struct{ engine.Session }

// Start returns a node that opens the engine in the background: until that has succeeded, the
// engine is away. It does not block.
func Start(e engine.Engine, config Config) *Node {
	n := &Node{
		config: config,
		name:   strconv.FormatUint(rand.Uint64(), 36),
		chats:  registry.New[*chat](),
		since:  time.Now(),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.agenda = background.NewAgenda(visitSlack, visitAll)
	n.follows = batcher{node: n, call: n.follow}
	n.asks = batcher{node: n, call: n.ask}
	n.calls.wake = make(chan struct{}, 1)
	n.mail.node = n
	n.feeders.node, n.feeders.most = n, runtime.GOMAXPROCS(0)
	n.feeders.wake = make(chan struct{}, n.feeders.most)
	n.peers.heard = make(map[string]time.Time)
	n.begin(func() { n.open(e) })
	n.begin(n.beat)
	n.begin(func() { n.calls.make(n.ctx) })
	return n
}

// open opens the session. It tries until it succeeds or the node is closed.
func (n *Node) open(e engine.Engine) {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		session, err := e.Open(ctx, sink{n})
		cancel()
		if err == nil {
			n.mu.Lock()
			n.session = session
			n.refreshLocked()
			n.mu.Unlock()
			return
		}
		if n.ctx.Err() == nil {
			sink{n}.Failed(err)
		}
		select {
		case <-time.After(backoff):
		case <-n.ctx.Done():
			return
		}
	}
}

// Publish publishes a message in a chat. It returns nil when the message has its place in the
// order, which is when it is stored; it does not wait until it was fed to anybody.
//
// Publish blocks while the engine stores the message, while it cannot be reached, and while a
// reader of this node holds back the feed of the chat. If it returns an ErrUncertain, the message
// may be in the order, or appear there later: ctx, the timeout or the node ended while the message
// was in flight, or the engine has lost the records that would tell. After any other error the
// message never appears: ErrAway, ErrTimeout, ErrClosed, ctx.Err(), an ErrRefused of the engine, or
// an [EndedError] in a chat that has ended.
func (n *Node) Publish(ctx context.Context, chat string, message []byte) error {
	return n.publish(ctx, chat, &entry{message: message})
}

// publish publishes a message or an end.
func (n *Node) publish(ctx context.Context, chat string, e *entry) error {
	for {
		if err := n.chat(chat).publish(ctx, e); err != errForgotten {
			return err
		}
	}
}

// Join begins to feed a chat to log. This ends an older feed of the chat. With history it feeds
// everything that the engine keeps of the chat, otherwise what is stored from now on. If the log is
// a [Presence], it is also told of the devices of other nodes. Join does not block.
func (n *Node) Join(chat string, log Log, history bool) *Feed {
	for {
		c := n.chat(chat)
		f := &Feed{chat: c, id: n.feeds.Add(1), log: log, history: history}
		f.presence, _ = log.(Presence)
		if c.join(f) {
			return f
		}
	}
}

// Settle makes Publish return ErrClosed from then on, also for messages that are still in the
// queue. It waits for the messages in flight, or until ctx is done. [Feed.Drained] tells when a log
// was told of those that were accepted.
func (n *Node) Settle(ctx context.Context) { n.settle(ctx) }

// settle refuses messages, and waits for those in flight or until ctx is done. It returns a channel
// that is closed when there are none.
func (n *Node) settle(ctx context.Context) (settled <-chan struct{}) {
	n.closing.Store(true)
	n.tell()
	done := make(chan struct{})
	go func() {
		n.messages.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return done
}

// Close ends the node. From then on Publish returns ErrClosed, also for messages that are still in
// the queue. Close waits until ctx is done for the messages in flight; those that remain get an
// ErrUncertain. Then it closes the session, which takes half a second at most. When it returns, no
// goroutine of the node is running, which includes calls of a Log. It must be called once.
func (n *Node) Close(ctx context.Context) {
	settled := n.settle(ctx)
	live := n.live.Load()
	n.tearDown()
	<-settled
	if live != nil { // after all other notes, which would show that the node lives
		_ = live.Send("", note{Kind: noteBye, Node: n.name}.encode()) // or others find out
	}
	if n.session != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = n.session.Close(ctx) // nothing is lost with a connection
	}
}

// tearDown ends everything but the session.
func (n *Node) tearDown() {
	n.mu.Lock()
	n.closed = true
	if n.live.Swap(nil) != nil {
		n.since = time.Now()
	}
	n.mu.Unlock()
	n.cancel()
	for _, c := range n.chats.All() {
		c.close()
	}
	n.agenda.Stop()
	n.tasks.Wait()
}

// begin starts a goroutine that Close waits for, unless the node is closed. It may be called with
// any lock of this package held.
func (n *Node) begin(task func()) (ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Go(task)
	}
	return !n.closed
}

// newID returns the id of another record. It also says when the record was made.
func (n *Node) newID() string {
	var buffer [48]byte
	id := strconv.AppendUint(append(append(buffer[:0], n.name...), '-'), n.records.Add(1), 36)
	return string(strconv.AppendInt(append(id, madeMark...), time.Now().UnixMilli(), 36))
}

// madeMark precedes, in an id, when the record was made.
const madeMark = "@"

// madeAt returns when a record was made, by the clock of its node, or now if its id does not say so
// or that clock is ahead.
func madeAt(id string) time.Time {
	now := time.Now()
	_, text, _ := strings.Cut(id, madeMark)
	text, _, _ = strings.Cut(text, endMark)
	made, err := strconv.ParseInt(text, 36, 64)
	if err != nil || made > now.UnixMilli() {
		return now
	}
	return time.UnixMilli(made)
}

// chat returns a chat, which it creates if necessary.
func (n *Node) chat(name string) *chat {
	if c, ok := n.chats.Load(name); ok {
		return c
	}
	n.chats.Lock()
	defer n.chats.Unlock()
	if c, ok := n.chats.Load(name); ok {
		return c
	}
	c := &chat{node: n, name: name}
	n.chats.InsertLocked(name, c)
	return c
}

// forget removes a chat, unless it is needed.
func (n *Node) forget(c *chat) {
	n.chats.Lock()
	defer n.chats.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.forgotten && !c.neededLocked() {
		c.forgotten = true
		n.chats.DeleteLocked(c.name)
	}
}

// sink is the sink of a node.
type sink struct{ *Node }

func (s sink) Stored(name string, r engine.Record) {
	if c, ok := s.chats.Load(name); ok {
		c.stored(r)
	}
}

func (s sink) Up(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if up != s.up {
		s.since = time.Now()
	}
	s.up = up
	if up {
		s.reason = ""
	}
	s.refreshLocked()
}

func (s sink) Failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = strings.ReplaceAll(err.Error(), "\n", "; ") // as errors.Join makes them
}

// refreshLocked updates live, and has all chats told.
func (n *Node) refreshLocked() {
	if n.closed || n.session == nil {
		return
	}
	n.live.Store(nil)
	if n.up {
		n.live.Store(&connection{n.session})
	}
	if !n.changed {
		n.changed = true
		n.tasks.Go(n.connectionChanged)
	}
}

// connectionChanged tells all chats that the engine has come or gone.
func (n *Node) connectionChanged() {
	n.mu.Lock()
	n.changed = false
	n.mu.Unlock()
	if n.live.Load() != nil {
		n.mail.send("", note{Kind: noteBeat}) // before it follows chats
	}
	n.tell()
}

// tell makes all chats check what has changed.
func (n *Node) tell() {
	for _, c := range n.chats.All() {
		c.advance()
	}
}
