package cluster

import (
	"errors"
	"time"
)

// errUnanswered is the error of a call of Append that was not answered in time.
var errUnanswered = errors.New("no answer from the engine")

// A call is a call of Append. It is handed to the session by Node.calls, and ends when the session
// answers, or at its deadline: the chat is visited then.
type call struct {
	chat     *chat
	batch    *batch // nil if the call begins an epoch
	session  Session
	after    Place
	record   Record // without its place
	deadline time.Time
	ended    bool // guarded by the lock of the chat
}

// callLocked starts a call. It returns nil if the node is closed.
func (c *chat) callLocked(b *batch, after Place, id string, messages [][]byte) *call {
	k := &call{
		chat:     c,
		batch:    b,
		session:  c.connection,
		after:    after,
		record:   Record{Prev: after.Mark, ID: id, Batch: messages},
		deadline: time.Now().Add(callTimeout),
	}
	if !c.node.calls.add(k) {
		return nil
	}
	c.node.agenda.Schedule(c, k.deadline)
	return k
}

// callAll makes calls.
func callAll(calls []*call) {
	for _, k := range calls {
		k.session.Append(k.chat.name, k.after, k.record.Batch, k.record.ID, k.answer)
	}
}

// answer handles the answer of the session.
func (k *call) answer(place Place, err error) {
	k.chat.mu.Lock()
	defer k.chat.mu.Unlock()
	k.endLocked(place, err)
}

// expireLocked ends the call if its deadline has passed.
func (k *call) expireLocked(now time.Time) {
	if k != nil && !now.Before(k.deadline) {
		k.endLocked(Place{}, errUnanswered)
	}
}

// endLocked ends the call with a result, unless it has ended.
func (k *call) endLocked(place Place, err error) {
	if k.ended {
		return
	}
	k.ended = true
	k.record.Place = place
	if k.batch != nil {
		k.chat.appendedLocked(k.batch, k.record, err)
	} else {
		k.chat.begunLocked(k.record, err)
	}
	k.chat.advanceLocked()
}
