package broadcastnats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fbd86cad/broadcast/engine"
)

// errLost is the error of a call whose answer may be lost.
var errLost = errors.New("connection or leader lost")

// errNobody is the error of a call for which the server knows nobody who could answer it.
var errNobody = fmt.Errorf("%w: nobody answers for the stream", engine.ErrAway)

// errTooMany is the error of a call for which the server has no room: it has dropped the request.
var errTooMany = fmt.Errorf("%w: the server has too many requests", engine.ErrAway)

// Status of an answer, in its header.
const (
	statusHeader    = "Status"
	statusEnd       = "204"
	statusNotFound  = "404"
	statusTooMany   = "429"
	statusNoAnswers = "503"
)

// calls are the requests of a session that wait for an answer. Answers come to the subjects below
// one inbox, which has one subscription.
type calls struct {
	conn  *nats.Conn
	inbox string         // with a dot at the end
	tasks sync.WaitGroup // what handles the end of calls; entered under mu while not closed

	mu        sync.Mutex
	number    uint64 // of calls so far
	waiting   map[uint64]*call
	closed    bool
	forgotten time.Time // when calls were forgotten last
	old       uint64    // number of calls by then
}

// call is one request. Guarded by the lock of calls while it is waiting. Whoever removes it from
// there, because it has ended, calls then without the lock.
type call struct {
	number  uint64
	many    bool // a message with a status follows the answers
	append  bool // nobody waits for an answer that comes too late
	answers []*nats.Msg
	err     error
	then    func()
}

// forgetAfter is after how long calls of Append may be forgotten.
const forgetAfter = 2 * time.Second

// start sends a request. It sets m.Reply. If it returns nil, then is called when the call has
// ended, perhaps before start has returned.
func (c *calls) start(k *call, m *nats.Msg) error {
	var reply [64]byte
	m.Reply = string(strconv.AppendUint(append(reply[:0], c.inbox...), c.add(k, time.Now()), 36))
	if err := c.conn.PublishMsg(m); err != nil && c.remove(k) {
		return sendError(err)
	}
	return nil
}

// ask sends a request and returns the answers. It sets m.Reply.
func (c *calls) ask(ctx context.Context, m *nats.Msg, many bool) ([]*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	k := &call{many: many, then: func() { close(done) }}
	if err := c.start(k, m); err != nil {
		return nil, err
	}
	select {
	case <-done:
		return k.answers, k.err
	case <-ctx.Done():
		c.remove(k)
		return nil, ctx.Err()
	}
}

// sendError returns the error of a call that could not be sent.
func sendError(err error) error {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", engine.ErrAway, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", engine.ErrRefused, err)
	}
	return err
}

func (c *calls) add(k *call, now time.Time) (number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(now)
	c.number++
	k.number = c.number
	c.waiting[k.number] = k
	return k.number
}

// forgetLocked forgets the calls of Append that were there already when it did so the last time.
func (c *calls) forgetLocked(now time.Time) {
	if now.Sub(c.forgotten) < forgetAfter {
		return
	}
	for number, k := range c.waiting {
		if k.append && number <= c.old {
			delete(c.waiting, number)
		}
	}
	c.forgotten, c.old = now, c.number
}

// remove removes a call. It returns false if the call has ended.
func (c *calls) remove(k *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.waiting[k.number]
	delete(c.waiting, k.number)
	return ok
}

// answer handles an answer.
func (c *calls) answer(m *nats.Msg) { c.handle(m.Subject, m) }

// confirm handles a request that a node has sent to itself, unless it is another node.
func (c *calls) confirm(m *nats.Msg) {
	if strings.HasPrefix(m.Reply, c.inbox) {
		c.handle(m.Reply, m)
	}
}

func (c *calls) handle(reply string, m *nats.Msg) {
	number, err := strconv.ParseUint(reply[len(c.inbox):], 36, 64)
	if err != nil {
		return
	}
	if k := c.take(number, m); k != nil {
		k.then()
		c.tasks.Done()
	}
}

// take adds an answer to its call. If that has ended, it enters tasks and returns the call.
func (c *calls) take(number uint64, m *nats.Msg) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.waiting[number]
	if k == nil || c.closed {
		return nil // nobody waits for it any more
	}
	status := header(m, statusHeader)
	if status != "" && markOf(m) > 0 {
		status = "" // somebody has stored it with the message
	}
	switch status {
	case "":
		k.answers = append(k.answers, m)
	case statusNotFound:
	case statusEnd:
		k.answers = append(k.answers, m)
	case statusTooMany:
		k.err = errTooMany
	case statusNoAnswers:
		k.err = errNobody
	default:
		k.err = fmt.Errorf("status %s: %s", status, header(m, "Description"))
	}
	if status == "" && k.many {
		return nil
	}
	delete(c.waiting, number)
	c.tasks.Add(1)
	return k
}

// asked returns the number of calls so far.
func (c *calls) asked() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number
}

// lose ends the first calls, up to a number of them, because their answers may be lost.
func (c *calls) lose(first uint64) {
	lost, ok := c.takeFirst(first)
	if !ok {
		return
	}
	defer c.tasks.Done()
	for _, k := range lost {
		k.err = errLost
		k.then()
	}
}

// takeFirst removes the first calls, up to a number of them. It enters tasks, and returns false if
// calls is closed.
func (c *calls) takeFirst(first uint64) (removed []*call, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	for number, k := range c.waiting {
		if number <= first {
			delete(c.waiting, number)
			removed = append(removed, k)
		}
	}
	c.tasks.Add(1)
	return removed, true
}

// close ends all calls. When it returns, no call of then is running, and none follows.
func (c *calls) close() {
	c.lose(c.asked())
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.tasks.Wait()
}
