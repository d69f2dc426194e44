package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// errUnanswered is the error of a call of Append that was not answered in time.
var errUnanswered = errors.New("no answer from the engine")

// calls makes calls of Append on one goroutine. It lasts as long as the node, because a new one
// would have to grow its stack each time.
type calls struct {
	wake chan struct{} // has a token if there is something to do

	mu      sync.Mutex
	waiting []*call
}

// add adds a call. The lock of its chat is held.
func (c *calls) add(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, k)
	if len(c.waiting) == 1 {
		c.wake <- struct{}{} // nobody else puts one there until it is taken
	}
}

// make makes calls until ctx is done.
func (c *calls) make(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		for _, k := range c.take() {
			k.session.Append(k.chat.name, k.after, k.record.Batch, k.record.ID, k.answer)
		}
	}
}

func (c *calls) take() (all []*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, c.waiting = c.waiting, nil
	return all
}

// A call is a call of Append. It ends when the session answers, or at its deadline: the chat is
// visited then.
type call struct {
	chat     *chat
	batch    *batch // nil if the call begins an epoch
	session  engine.Session
	after    engine.Place
	record   engine.Record // without its place
	deadline time.Time
	ended    bool // guarded by the lock of the chat
}

// callLocked starts a call.
func (c *chat) callLocked(b *batch, after engine.Place, id string, messages [][]byte) *call {
	k := &call{
		chat:     c,
		batch:    b,
		session:  c.connection,
		after:    after,
		record:   engine.Record{Prev: after.Mark, ID: id, Batch: messages},
		deadline: time.Now().Add(callTimeout),
	}
	c.node.calls.add(k)
	c.node.agenda.Schedule(c, k.deadline)
	return k
}

// answer handles the answer of the session.
func (k *call) answer(place engine.Place, err error) {
	k.chat.mu.Lock()
	defer k.chat.mu.Unlock()
	k.endLocked(place, err)
}

// expireLocked ends the call if its deadline has passed.
func (k *call) expireLocked(now time.Time) {
	if k != nil && !now.Before(k.deadline) {
		k.endLocked(engine.Place{}, errUnanswered)
	}
}

// endLocked ends the call with a result, unless it has ended.
func (k *call) endLocked(place engine.Place, err error) {
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
