package broadcastnats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fbd86cad/broadcast/engine"
)

// A session is the connection of one node. It implements [engine.Session].
//
// It has two goroutines: one hands over what the node is subscribed to, and one keeps the stream.
// Close waits for both. Its locks are held one at a time, and none during a call of the client.
type session struct {
	options Options
	sink    engine.Sink
	conn    *nats.Conn
	stream  jetstream.JetStream
	calls   calls
	keeper  keeper

	acknowledgement []byte // what an answer of the stream begins with, if it has stored a record

	ctx    context.Context // done when the session is closed
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	// incoming are the messages that the client has received for the subscriptions of the node.
	incoming chan *nats.Msg

	// newest is the largest mark that the node has seen. Written by whoever sees one, and read by the
	// keeper before it looks at the stream, which must then have it or a later one.
	newest atomic.Uint64

	// forgotten is a mark that the stream had forgotten when it stored a record before it. Written by
	// whoever finds that out, and read by the keeper, for which newer records prove nothing then.
	forgotten atomic.Uint64

	mu      sync.Mutex
	follows map[string]*nats.Subscription // by chat
	chats   map[*nats.Subscription]string // the reverse
}

// buffer is how many messages may wait to be handed over. Those that do not fit are read again.
const buffer = 8 << 10

func newSession(o Options, sink engine.Sink) *session {
	s := &session{
		options:  o,
		sink:     sink,
		incoming: make(chan *nats.Msg, buffer),
		follows:  make(map[string]*nats.Subscription),
		chats:    make(map[*nats.Subscription]string),
	}
	s.acknowledgement = fmt.Appendf(nil, `{"stream":%q,"seq":`, o.Prefix)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.keeper.wake = make(chan struct{}, 1)
	s.calls.waiting = make(map[uint64]*call)
	return s
}

// subscribe makes the subscriptions that do not belong to a chat.
func (s *session) subscribe() (err error) {
	if s.stream, err = jetstream.New(s.conn); err != nil {
		return err
	}
	s.calls.conn, s.calls.inbox = s.conn, s.conn.NewInbox()+"."
	answers, err := s.conn.Subscribe(s.calls.inbox+"*", s.calls.answer)
	if err != nil {
		return err
	}
	if err := answers.SetPendingLimits(-1, -1); err != nil { // there are as many as were asked for
		return err
	}
	for event, r := range map[string]reason{"LEADER_ELECTED": elected, "DELETED": doubt} {
		advisory := "$JS.EVENT.ADVISORY.STREAM." + event + "." + s.options.Prefix
		if _, err := s.conn.Subscribe(advisory, func(*nats.Msg) { s.keeper.tell(r) }); err != nil {
			return err
		}
	}
	_, err = s.conn.ChanSubscribe(s.subject("a"), s.incoming)
	return err
}

// start starts the goroutines.
func (s *session) start() {
	s.keeper.tell(cut)
	s.tasks.Go(s.handOver)
	s.tasks.Go(s.keep)
}

// flushTimeout is how long Close waits until the server has what was sent.
const flushTimeout = time.Second

// Close implements [engine.Session].
func (s *session) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, s.cancel) // ends a write, for which these calls wait too
	defer stop()
	if s.conn.IsConnected() {
		_ = s.conn.FlushWithContext(ctx) // what was sent may be lost
	}
	s.close()
	return nil
}

func (s *session) close() {
	s.cancel()
	s.tasks.Wait()
	if s.conn != nil {
		s.conn.Close()
		s.calls.close()
	}
}

// disconnected is called when the connection is lost. Answers on their way may be lost with it.
func (s *session) disconnected(err error) {
	if err != nil {
		err = fmt.Errorf("connection lost: %w", err)
	}
	s.keeper.note(err)
	s.keeper.tell(cut)
	s.calls.lose(s.calls.asked())
}

// reconnected is called when there is a connection again. The keeper is looking already.
func (s *session) reconnected() {
	s.keeper.note(nil)
	s.keeper.tell(drop)
}

// subject returns a subject below the prefix.
func (s *session) subject(kind string) string { return s.options.Prefix + "." + kind }

// stored, handed return the subject to which records of a chat are appended, and the one at which
// they are handed over.
func (s *session) stored(chat string) string { return s.subjectOf(".p.", chat) }
func (s *session) handed(chat string) string { return s.subjectOf(".r.", chat) }

func (s *session) subjectOf(kind, chat string) string {
	var buffer [mostPrefix + 3 + 1 + longestName*8/5]byte
	return string(appendToken(append(append(buffer[:0], s.options.Prefix...), kind...), chat))
}

// Follow implements [engine.Session].
func (s *session) Follow(ctx context.Context, chats ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	before := s.conn.LastError()
	var begun []string
	for _, chat := range chats {
		isNew, err := s.follow(chat)
		if isNew {
			begun = append(begun, chat)
		}
		if err != nil {
			s.Unfollow(begun...)
			return sendError(err)
		}
	}
	err := s.probe(ctx)
	if err == nil {
		err = s.confirm(ctx, before, begun)
	}
	if err != nil {
		s.suspect(err)
		s.Unfollow(begun...)
	}
	return err
}

// errUnconfirmed is the error of Follow if the server seems to have refused a subscription.
var errUnconfirmed = errors.New("a chat cannot be followed")

// confirmTimeout is how long a node waits for a message to itself.
const confirmTimeout = time.Second

// confirm makes sure that the node is subscribed to chats, if there was an error since before.
//
// When the server refuses a subscription, because there are too many or because of permissions, the
// client only notes the error, and does so before the probe has been answered. It need not say
// which subscription it was, and an error may hide that it is not the one before. So the node sends
// itself a message in each chat.
func (s *session) confirm(ctx context.Context, before error, chats []string) error {
	last := s.conn.LastError()
	if last == nil || last == before && errors.Is(last, nats.ErrPermissionViolation) {
		return nil // each violation has an error of its own
	}
	for _, chat := range chats {
		if err := s.sendToSelf(ctx, chat); err != nil {
			return fmt.Errorf("%w: %w: %w", errUnconfirmed, last, err)
		}
	}
	return nil
}

// sendToSelf returns when a message to the nodes that follow a chat has come back.
func (s *session) sendToSelf(ctx context.Context, chat string) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	_, err := s.calls.ask(ctx, &nats.Msg{Subject: s.handed(chat)}, false)
	return err
}

// follow subscribes to a chat, if that is new. No lock is held meanwhile, because the client may
// have to write to the connection.
func (s *session) follow(chat string) (isNew bool, err error) {
	if s.isFollowed(chat) {
		return false, nil
	}
	sub, err := s.conn.ChanSubscribe(s.handed(chat), s.incoming)
	if err != nil {
		return false, err
	}
	if isNew = s.begin(chat, sub); !isNew {
		_ = sub.Unsubscribe() // fails only if the connection is closed
	}
	return isNew, nil
}

func (s *session) isFollowed(chat string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.follows[chat] != nil
}

// begin notes the subscription of a chat. It returns false if another call was faster.
func (s *session) begin(chat string, sub *nats.Subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.follows[chat] != nil {
		return false
	}
	s.follows[chat], s.chats[sub] = sub, chat
	return true
}

// Unfollow implements [engine.Session].
func (s *session) Unfollow(chats ...string) {
	for _, chat := range chats {
		s.mu.Lock()
		sub := s.follows[chat]
		delete(s.follows, chat)
		delete(s.chats, sub)
		s.mu.Unlock()
		if sub != nil {
			_ = sub.Unsubscribe() // fails only if the connection is closed
		}
	}
}

// Send implements [engine.Session].
func (s *session) Send(chat string, data []byte) error {
	subject := s.subject("a")
	if chat != "" {
		subject = s.handed(chat)
	}
	if err := s.conn.Publish(subject, data); err != nil {
		return sendError(err)
	}
	return nil
}

// handOver hands over what comes in, until the session is closed.
//
// The client drops what does not fit into incoming. After that, incoming is full until something is
// taken from it, so whoever takes from it sees that. When there is room again, the node is told.
func (s *session) handOver() {
	full := cap(s.incoming) - 1
	dropped := false
	for {
		select {
		case m := <-s.incoming:
			dropped = dropped || len(s.incoming) >= full
			s.hand(m)
		case <-s.ctx.Done():
			return
		}
		if dropped && len(s.incoming) <= full/2 {
			dropped = false
			s.keeper.tell(drop)
		}
	}
}

// hand hands over a message.
func (s *session) hand(m *nats.Msg) {
	s.mu.Lock()
	chat, ok := s.chats[m.Sub]
	s.mu.Unlock()
	switch mark := markOf(m); {
	case m.Reply != "":
		s.calls.confirm(m)
	case !ok && m.Subject == s.subject("a"):
		s.sink.Sent("", m.Data)
	case !ok:
		// not followed any more
	case mark == 0:
		s.sink.Sent(chat, m.Data)
	default:
		if mark <= likely(time.Now()) {
			s.see(mark)
		}
		s.sink.Stored(chat, decode(m.Data, mark))
	}
}

// likely returns the largest mark that a stream should have. Anybody may send a message that looks
// as if it was handed over. Its mark must not make the keeper remove all records, as if the stream
// had lost its memory, only because no stream can have reached it.
func likely(now time.Time) uint64 { return uint64(now.Add(mostAhead).UnixMicro()) }

// mostAhead is by how much the clocks of other nodes, which choose the first sequence of a stream,
// may be ahead of that of this node.
const mostAhead = time.Hour

// see notes a mark.
func (s *session) see(mark uint64) { raise(&s.newest, mark) }

// raise stores a number, unless a larger one is stored.
func raise(to *atomic.Uint64, n uint64) {
	for old := to.Load(); old < n; old = to.Load() {
		if to.CompareAndSwap(old, n) {
			return
		}
	}
}

// sequenceHeader has the place of a stored message in the stream.
const sequenceHeader = "Nats-Sequence"

// header returns the last value of a header. The server adds its own after those that somebody has
// stored with a message, which may have the same names.
func header(m *nats.Msg, name string) string {
	values := m.Header[name]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// markOf returns the mark of a stored message, and 0 if it was not stored. A header that somebody
// has made up counts as none if no mark could be larger.
func markOf(m *nats.Msg) uint64 {
	mark, err := strconv.ParseUint(header(m, sequenceHeader), 10, 64)
	if err != nil || mark >= impossible {
		return 0
	}
	return mark
}
