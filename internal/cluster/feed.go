package cluster

import "time"

// A Log is what a [Feed] feeds: the core's side of a chat. Its methods are called without any lock
// of this package and, except for InUse, one at a time. They must not block; they may run user code.
type Log interface {
	// Reset says that messages from now on are numbered in an epoch, the next one seq+1. The first
	// call comes before that of any other method but InUse. Later ones mean that the engine has lost
	// its memory, and an unknown number of messages with it, unless End or Forgotten came before:
	// then the next chat of the name begins.
	Reset(epoch, seq uint64)

	// Hole says that the next n numbers are lost for good.
	Hole(n uint64)

	// Feed appends messages as far as there is room, and returns how many. If it does not take all,
	// [Feed.Room] must be called when there may be room: it offers the rest again. made is when
	// they were published, by the clock of their node, and not later than now.
	Feed(batch [][]byte, made time.Time) (n int)

	// End says that the chat has ended, with a reason, or nil if none was given. Other nodes than
	// the one that was given the reason know only its text. No message of this chat follows, but
	// after until there may be another chat of the same name, which begins with a Reset. So the log
	// should have left by then.
	End(reason error, until time.Time)

	// Forgotten says that the chat was forgotten: its name is free, whether or not it had ended. The
	// log should leave now. If it has readers nevertheless, a Reset follows with the next chat.
	Forgotten()

	// InUse reports whether the log has readers. It may be called at any time, also while another
	// method runs, before the first Reset and after Leave.
	InUse() bool

	// Ready says that the log has what the engine had at some time after Join was called. It is
	// called once.
	Ready()
}

// A Feed feeds a chat to a log, from [Node.Join] until [Feed.Leave] or another Join for the chat.
// Its methods do not block. They may be called from anywhere, also with locks held that the log
// takes.
type Feed struct {
	chat     *chat
	id       uint64 // later feeds of the node have larger ones
	log      Log
	presence Presence // the log, if it is one
	history  bool

	// Guarded by the lock of the chat.

	devices devices // that this node has in the chat
	news    []news  // about those of other nodes
	queue   []item
	short   [1]item // the queue, while it is that short
	bytes   int     // of the messages in the queue
	running bool    // waits for a goroutine, or is being fed: what is added to the queue is fed too
	full    bool    // the log has no room
	room    bool    // Room was called since the log was called last
	ready   bool    // Ready is in the queue, or was called
	left    bool    // nothing is fed any more

	next *Feed // that waits too; guarded by the lock of feeders
}

// An item is what the log is told of one record: a reset, a hole, messages, the end, in this order.
// The one for Ready has nothing else.
type item struct {
	reset      bool
	epoch, seq uint64 // of the reset
	hole       uint64
	batch      [][]byte
	made       time.Time
	ended      *ending // nil if it is not the end
	ready      bool
	drained    chan struct{} // closed when the log was told of it, or never will be; may be nil
}

// Limits of the queue of a feed. What does not fit is read from the engine later.
const (
	mostQueued      = 256
	mostQueuedBytes = 1 << 20
)

// Room says that the log may have room.
func (f *Feed) Room() {
	f.chat.mu.Lock()
	defer f.chat.mu.Unlock()
	f.room, f.full = true, false
	f.startLocked()
}

// Leave ends the feed. A call of the log that has begun or is about to begin may still run. No
// other follows.
func (f *Feed) Leave() {
	c := f.chat
	c.mu.Lock()
	defer c.mu.Unlock()
	f.leaveLocked()
	if c.joining == f {
		c.joining = nil
	}
	if c.feed == f {
		c.dropDevicesLocked()
		c.feed, c.presence = nil, presence{}
	}
	c.advanceLocked()
}

func (f *Feed) leaveLocked() {
	for _, it := range f.queue {
		if it.drained != nil {
			close(it.drained)
		}
	}
	f.left, f.news, f.queue, f.bytes = true, nil, nil, 0
}

// Drained returns a channel that is closed when the log was told all that has its place in the
// order now, or the feed has ended. What [Node.Publish] has accepted before is part of that.
func (f *Feed) Drained() <-chan struct{} {
	f.chat.mu.Lock()
	defer f.chat.mu.Unlock()
	if f.left || f.idleLocked() {
		return drained
	}
	last := &f.queue[len(f.queue)-1]
	if last.drained == nil {
		last.drained = make(chan struct{})
	}
	return last.drained
}

// drained is a closed channel.
var drained = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// idleLocked reports whether the log was told everything.
func (f *Feed) idleLocked() bool { return len(f.queue) == 0 }

// overfullLocked reports whether no further record fits into the queue.
func (f *Feed) overfullLocked() bool {
	return len(f.queue) >= mostQueued || f.bytes >= mostQueuedBytes
}

// readyLocked adds Ready to the queue, once. The state is current.
func (c *chat) readyLocked() {
	if f := c.feed; f != nil && !f.ready {
		f.ready = true
		f.pushLocked(item{ready: true})
	}
}

// pushLocked adds an item to the queue.
func (f *Feed) pushLocked(it item) {
	if f.left {
		return
	}
	f.queue = append(f.queue, it)
	f.bytes += it.size()
	f.startLocked()
}

func (it *item) size() (n int) {
	for _, message := range it.batch {
		n += len(message)
	}
	return n
}

// startLocked has the log fed, if there is something to do.
func (f *Feed) startLocked() {
	if !f.running && f.busyLocked() {
		f.running = f.chat.node.feeders.add(f)
	}
}

// busyLocked reports whether there is something to do: news, or something in the queue for which
// the log may have room.
func (f *Feed) busyLocked() bool { return len(f.news) > 0 || !f.full && len(f.queue) > 0 }

// feed tells the log all news or, if there is none, the first item of the queue. It reports whether
// there is more to do.
func (f *Feed) feed() (more bool) {
	news, it, ok := f.take()
	switch {
	case !ok:
		return false
	case len(news) == 0:
		return f.done(f.do(it))
	}
	for _, e := range news {
		e.tell(f.presence)
	}
	return true
}

// take returns all news or, if there is none, the first item of the queue. If there is neither, it
// returns false.
func (f *Feed) take() (all []news, it item, ok bool) {
	f.chat.mu.Lock()
	defer f.chat.mu.Unlock()
	switch {
	case !f.busyLocked():
		f.running = false
		return nil, it, false
	case len(f.news) > 0:
		all, f.news = f.news, nil
	default:
		f.room = false
		it = f.queue[0]
	}
	return all, it, true
}

// do tells the log an item, and returns how many messages it took.
func (f *Feed) do(it item) (n int) {
	if it.reset {
		f.log.Reset(it.epoch, it.seq)
	}
	if it.hole > 0 {
		f.log.Hole(it.hole)
	}
	if len(it.batch) > 0 {
		n = f.log.Feed(it.batch, it.made)
	}
	switch {
	case it.ended == nil:
	case it.ended.forgot:
		f.log.Forgotten()
	default:
		f.log.End(it.ended.reason, it.ended.until)
	}
	if it.ready {
		f.log.Ready()
	}
	return n
}

// done notes how many messages of the first item the log took. It reports whether there is more to
// do.
func (f *Feed) done(n int) (more bool) {
	c := f.chat
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.left {
		f.doneLocked(n)
	}
	f.running = f.busyLocked()
	return f.running
}

func (f *Feed) doneLocked(n int) {
	it := &f.queue[0]
	it.reset, it.hole = false, 0
	before := it.size()
	it.batch = it.batch[n:]
	f.bytes -= before - it.size()
	if len(it.batch) > 0 {
		f.full = !f.room
		return
	}
	if it.drained != nil {
		close(it.drained)
	}
	f.queue[0] = item{}
	f.queue = f.queue[1:]
	if len(f.queue) == 0 {
		f.queue = f.short[:0]
	}
	if len(f.queue) == 0 || len(f.queue) == mostQueued/2 {
		f.chat.advanceLocked()
	}
}
