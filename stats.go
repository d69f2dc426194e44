package broadcast

import "time"

// SubscriberStats holds the counters of one subscription. Whenever no call of its methods is in
// progress,
//
//	Head - Joined = Delivered + Missed + Pending + Discarded
//
// and Head does not change once the subscription has ended. If the numbers have begun anew since
// the subscription began (see [Delivery].Reset), Joined is 0, and Head counts from there.
type SubscriberStats struct {
	Delivered uint64 // messages taken
	Missed    uint64 // messages dropped by the strategy, or no longer kept when it resumed
	Pending   uint64 // messages that can still be taken
	Discarded uint64 // messages discarded when the subscription ended
	Joined    uint64 // Seq after which the subscription, or its replay, began
	Head      uint64 // Seq of the last message accepted in the chat before the subscription ended
}

// Stats holds the counters of a broker. Whenever no call is in progress, Accepted + Rejected is the
// number of calls of Publish and TryPublish, and Delivered, Missed, Pending and Discarded are the
// sums over all subscriptions, open and ended.
//
// With [WithEngine], Accepted counts the messages that this broker has got from the engine: those
// of chats that it has in memory, whoever published them.
type Stats struct {
	Chats       int // chats in memory, including those without readers that are not forgotten yet
	Subscribers int // open subscriptions

	Accepted  uint64 // messages accepted, including those to chats without subscribers
	Rejected  uint64 // calls of Publish and TryPublish that returned an error
	Delivered uint64 // messages taken, counted once for each subscription
	Missed    uint64 // messages dropped by strategies, or no longer kept at a resume
	Pending   uint64 // messages that can still be taken
	Discarded uint64 // messages discarded when their subscription ended

	Replaced     uint64 // subscriptions ended by a takeover
	Disconnected uint64 // subscriptions ended by Disconnect
	Stalled      uint64 // subscriptions ended by the stall timeout
	ChatsCleaned uint64 // chats forgotten by the cleaner
	Resets       uint64 // times when the numbers of a chat began anew; see Delivery.Reset

	PublishersWaiting int           // calls of Publish that are waiting for a reader
	PublishersWaited  uint64        // calls of Publish that have waited, whatever they returned
	PublishWait       time.Duration // how long these have waited in all

	// OutOfPatience is how often publishers have waited for a reader until its patience was over;
	// see [WithPatience]. A reader may be counted again after it has drained to half its buffer.
	// With patience 0, and in TryPublish, there is no wait, so nothing is counted.
	OutOfPatience uint64
}

// ChatStats holds the counters of one chat since it was created; see [Broker.ChatStats]. Whenever
// no call is in progress, the sums over all subscriptions of the chat, open and ended, are those of
// [Stats].
type ChatStats struct {
	Subscribers int // open subscriptions

	Accepted  uint64 // messages accepted; without an engine, the Seq of the last one
	Delivered uint64 // messages taken, counted once for each subscription
	Missed    uint64 // messages dropped by strategies, or no longer kept at a resume
	Pending   uint64 // messages that can still be taken
	Discarded uint64 // messages discarded when their subscription ended

	Replaced     uint64 // subscriptions ended by a takeover
	Disconnected uint64 // subscriptions ended by Disconnect
	Stalled      uint64 // subscriptions ended by the stall timeout
	Resets       uint64 // times when the numbers began anew; see Delivery.Reset

	PublishersWaiting int           // as in Stats
	PublishersWaited  uint64        // as in Stats
	PublishWait       time.Duration // as in Stats
	OutOfPatience     uint64        // as in Stats
}

// sumLocked returns the totals of a chat's subscriptions, open and ended. Each is counted once,
// although the lock is released in between. It overwrites scratch, which the caller allocates.
func (c *chat[T]) sumLocked(scratch *books) (sum books) {
	*scratch = books{}
	c.countedTwice = scratch
	c.statsMark = !c.statsMark
	c.eachReaderLocked(func(s *Subscriber[T]) {
		if s.statsMark != c.statsMark { // else it has joined meanwhile
			s.statsMark = c.statsMark
			sum.add(s.booksLocked())
		}
	})
	c.countedTwice = nil
	sum.add(c.ended)
	return sum.minus(*scratch)
}

// Stats returns the counters of the broker. It locks one chat at a time, and a chat with many
// subscriptions several times. Counters that change during the call are read at different moments,
// but each subscription is counted once, in one state.
func (b *Broker[T]) Stats() Stats {
	if !b.valid() {
		return Stats{}
	}
	b.statsMu.Lock()
	defer b.statsMu.Unlock()
	t := &b.totals
	stats := Stats{Rejected: t.rejected.Load(), Accepted: t.withoutChat.sum()}
	call, cleaned := t.begin()
	stats.ChatsCleaned = cleaned
	var all chatTotals
	scratch := new(books)
	for _, c := range b.chats.All() {
		c.gate.Lock()
		if !c.forgotten {
			c.seen = call // even if it is forgotten before sumLocked returns
			all.accepted += c.log.Head()
			all.resets += c.numbers.Resets()
			all.waits.Add(c.gate.Waits())
			all.books.add(c.sumLocked(scratch))
			stats.Chats++
			stats.Subscribers += c.openCountLocked()
		}
		c.gate.Unlock()
	}
	all.add(t.end())
	stats.Accepted += all.accepted
	stats.Resets = all.resets
	sum, waits := all.books, all.waits
	stats.Delivered, stats.Missed = sum.delivered, sum.missed
	stats.Pending, stats.Discarded = sum.pending, sum.discarded
	stats.Replaced, stats.Disconnected, stats.Stalled = sum.replaced, sum.disconnected, sum.stalled
	stats.PublishersWaiting, stats.PublishersWaited = waits.Waiting, waits.Publishers
	stats.PublishWait, stats.OutOfPatience = waits.Time, waits.GivenUp
	return stats
}

// ChatStats returns the counters of a chat. ok is false if the chat does not exist: it was never
// created, or it was forgotten. Stats still includes the counters of forgotten chats. A later chat
// of the same name counts from 0.
//
// ChatStats does not block, but calls of Stats and ChatStats wait for each other. It locks the chat
// as Stats does.
func (b *Broker[T]) ChatStats(chat string) (stats ChatStats, ok bool) {
	if !b.valid() {
		return stats, false
	}
	c, ok := b.chats.Load(chat)
	if !ok {
		return stats, false
	}
	b.statsMu.Lock()
	defer b.statsMu.Unlock()
	return c.stats()
}

// stats implements ChatStats. Broker.statsMu is held.
func (c *chat[T]) stats() (stats ChatStats, ok bool) {
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.forgotten {
		return stats, false
	}
	sum, waits := c.sumLocked(new(books)), c.gate.Waits()
	return ChatStats{
		Subscribers: c.openCountLocked(),
		Accepted:    c.log.Head(),
		Delivered:   sum.delivered, Missed: sum.missed, Pending: sum.pending, Discarded: sum.discarded,
		Replaced: sum.replaced, Disconnected: sum.disconnected, Stalled: sum.stalled,
		Resets:            c.numbers.Resets(),
		PublishersWaiting: waits.Waiting, PublishersWaited: waits.Publishers,
		PublishWait: waits.Time, OutOfPatience: waits.GivenUp,
	}, true
}
