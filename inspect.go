package broadcast

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast/internal/flow"
)

// A SubscriptionInfo describes an open subscription at one moment, as [Broker.Subscriptions] and
// [Broker.Laggards] return it.
type SubscriptionInfo struct {
	Chat     string
	Device   string // empty for an anonymous subscription
	Strategy string // the name of its Sampling, or "WithSampler"
	Buffer   int    // how many messages may wait for it; one more than WithBuffer while Chan is in use

	// State is one of these:
	//
	//	up to date   nothing waits for it
	//	reading      messages wait for it, and there is room for more
	//	full         it was full, and publishers wait until it is half empty, or out of patience
	//	blocking     its buffer is full, and publishers wait for it, because its strategy is Block
	//	slow         it is out of patience, and has taken something since: when it is full again,
	//	             its strategy acts at once, and publishers wait only if that is Block
	//	losing       it is out of patience and full: its strategy decides what it loses
	//	draining     the chat accepts nothing more; it takes what is left
	//
	// A reader that is out of patience stays so until it has drained to half its buffer. A buffer
	// counts as full when a message has not fit; Pending may equal Buffer before that.
	State string

	Pending uint64 // messages that it can still take
	Missed  uint64 // messages that it has lost since it subscribed

	// StuckSince is a time since which the reader has taken nothing although messages wait for it,
	// or zero if none is known. The broker does not record the time of each read. It records the
	// time when a reader runs out of patience or is suspected of a stall (see [WithStallTimeout]).
	// If a reader that is out of patience takes something after that, the time is recorded anew
	// when Subscriptions or Laggards next visits it. So the reader may have been stuck for longer,
	// but not for less.
	StuckSince time.Time
}

// Subscriptions returns an iterator over the open subscriptions of a chat, in no particular order.
// It yields nothing if the chat does not exist. A loop lists the subscriptions when it begins, and
// reads the state of each shortly before it yields it. Subscriptions that end before that, or begin
// during the loop, are not yielded. An anonymous one may be yielded twice if others end meanwhile.
//
// Subscriptions does not block. No lock is held while the body of the loop runs, so it may be slow
// and may call the broker. At most 128 subscriptions are visited in one hold of the chat's lock.
func (b *Broker[T]) Subscriptions(chat string) iter.Seq[SubscriptionInfo] {
	return func(yield func(SubscriptionInfo) bool) {
		if !b.valid() {
			return
		}
		c, ok := b.chats.Load(chat)
		if !ok {
			return
		}
		c.subscriptions(yield)
	}
}

// Laggards returns the n subscriptions of the broker that are furthest behind, or all that are
// behind if there are fewer; the result is empty, not nil, if there are none. Those that are out of
// patience come first. Each of the two groups is ordered by how full the buffers are, and then by
// Missed.
//
// Laggards does not block. It visits every subscription of the broker once, which takes time if
// there are many. It locks one chat at a time, and visits at most 128 subscriptions in one hold of
// the lock. An anonymous one may be listed twice if others end meanwhile. Use it to find a slow
// reader, not in a metrics scrape; Stats tells whether there are slow readers.
func (b *Broker[T]) Laggards(n int) []SubscriptionInfo {
	r := ranking{n: n, infos: []SubscriptionInfo{}}
	if !b.valid() || n <= 0 {
		return r.infos
	}
	for _, c := range b.chats.All() {
		for info := range c.subscriptions {
			r.add(info)
		}
	}
	return r.worst()
}

// subscriptions yields a description of each open subscription, without the chat's lock.
func (c *chat[T]) subscriptions(yield func(SubscriptionInfo) bool) {
	for piece := range slices.Chunk(c.openReaders(), pieceSize) {
		for _, info := range c.describe(piece) {
			if !yield(info) {
				return
			}
		}
	}
}

// describe describes those of at most pieceSize subscriptions that are open.
func (c *chat[T]) describe(subscribers []*Subscriber[T]) []SubscriptionInfo {
	infos := make([]SubscriptionInfo, 0, len(subscribers))
	c.gate.Lock()
	defer c.gate.Unlock()
	for _, s := range subscribers {
		if s.end.Load() == nil {
			infos = append(infos, s.infoLocked())
		}
	}
	return infos
}

// infoLocked describes an open subscription.
func (s *Subscriber[T]) infoLocked() SubscriptionInfo {
	stats := s.statsLocked()
	return SubscriptionInfo{
		Chat:       s.chat.name,
		Device:     s.device,
		Strategy:   s.strategy(),
		Buffer:     int(s.at.Room()),
		State:      s.stateLocked(stats.Pending),
		Pending:    stats.Pending,
		Missed:     stats.Missed,
		StuckSince: s.stuckSinceLocked(stats.Pending),
	}
}

// stuckSinceLocked returns since when an open reader has taken nothing, if that is known.
func (s *Subscriber[T]) stuckSinceLocked(pending uint64) (since time.Time) {
	if pending == 0 {
		return since
	}
	if s.at.Load().Slow() && !s.at.State().Patient() {
		s.chat.recordStuckLocked(s, time.Now())
	}
	if s.since > 0 {
		since = s.chat.shared.began.Add(s.since)
	}
	return since
}

// The states of a SubscriptionInfo.
const (
	upToDate       = "up to date"
	reading        = "reading"
	full           = "full"
	blocking       = "blocking"
	slow           = "slow"
	losing         = "losing"
	readerDraining = "draining"
)

// stateLocked returns the state of an open reader, in words.
func (s *Subscriber[T]) stateLocked(pending uint64) string {
	switch state := s.at.State(); {
	case s.chat.closed != nil:
		return readerDraining
	case state == flow.Full:
		return full
	case state == flow.Blocking:
		return blocking
	case state == flow.Strained:
		return slow
	case state != flow.Following:
		return losing
	case pending > 0:
		return reading
	}
	return upToDate
}

// A ranking finds the n subscriptions that are furthest behind.
type ranking struct {
	n     int
	infos []SubscriptionInfo // at most twice as many; after the first n in no order
}

// add adds a subscription if it is behind.
func (r *ranking) add(info SubscriptionInfo) {
	if info.State == upToDate || info.Pending == 0 && !info.outOfPatience() {
		return
	}
	if r.infos = append(r.infos, info); len(r.infos)/2 >= r.n {
		r.worst()
	}
}

// worst returns the n subscriptions that are furthest behind of those added, in order.
func (r *ranking) worst() []SubscriptionInfo {
	slices.SortFunc(r.infos, furthestBehind)
	r.infos = r.infos[:min(r.n, len(r.infos))]
	return r.infos
}

// furthestBehind compares two subscriptions in the order of Laggards.
func furthestBehind(a, b SubscriptionInfo) int {
	if a.outOfPatience() != b.outOfPatience() {
		if a.outOfPatience() {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(b.fullness(), a.fullness()),
		cmp.Compare(b.Missed, a.Missed),
		cmp.Compare(a.Chat, b.Chat),
		cmp.Compare(a.Device, b.Device),
	)
}

// outOfPatience reports whether the reader has used up its patience: publishers no longer wait for
// it, or wait because its strategy is Block.
func (i *SubscriptionInfo) outOfPatience() bool {
	return i.State == slow || i.State == losing || i.State == blocking
}

// fullness returns the fraction of the buffer that is full, at most 1.
func (i *SubscriptionInfo) fullness() float64 {
	return min(1, float64(i.Pending)/float64(i.Buffer))
}
