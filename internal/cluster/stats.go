package cluster

import (
	"sync/atomic"
	"time"
)

// Stats holds the counters of a node since it was started.
type Stats struct {
	Up     bool      // the engine can be reached
	Since  time.Time // when that changed, or when the node was started
	Reason string    // why the engine cannot be reached, for people; empty while it can
	Peers  int       // other nodes that are alive

	Fetched   uint64 // records that were read because the engine had not handed them over
	Gaps      uint64 // times when a record showed that others had been missed
	Lost      uint64 // messages that the engine no longer had when they were read
	Conflicts uint64 // batches that were numbered anew, because another node was faster
	Uncertain uint64 // messages of which it is not known whether they were accepted
	Resets    uint64 // times when the engine had lost its memory of a chat
}

// counters are the counts of [Stats]. They are incremented under the lock of a chat; nothing is
// ordered by them.
type counters struct {
	fetched, gaps, lost, conflicts, uncertain, resets atomic.Uint64
}

// Stats returns the counts. They are not a snapshot of one moment.
func (n *Node) Stats() Stats {
	k := &n.counters
	n.mu.Lock()
	defer n.mu.Unlock()
	up, reason := n.live.Load() != nil, n.reason
	if up {
		reason = ""
	}
	return Stats{
		Up:        up,
		Since:     n.since,
		Reason:    reason,
		Peers:     n.peers.len(),
		Fetched:   k.fetched.Load(),
		Gaps:      k.gaps.Load(),
		Lost:      k.lost.Load(),
		Conflicts: k.conflicts.Load(),
		Uncertain: k.uncertain.Load(),
		Resets:    k.resets.Load(),
	}
}
