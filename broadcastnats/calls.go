package broadcastnats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/fbd86cad/broadcast/internal/cluster"
)

// errLost is the error of a call whose answer may be lost.
var errLost = errors.New("connection or leader lost")

// errNobody is the error of a call for which the server knows nobody who could answer it.
var errNobody = fmt.Errorf("%w: nobody answers for the stream", cluster.ErrAway)

// errTooMany is the error of a call for which the server has no room: it has dropped the request.
var errTooMany = fmt.Errorf("%w: the server has too many requests", cluster.ErrAway)

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
	inbox string // with a dot at the end

	mu      sync.Mutex
	number  uint64 // of calls so far
	waiting map[uint64]*call
}

// call is one request. Guarded by the lock of calls while it is waiting. Whoever removes it from
// there, because it has ended, closes done.
type call struct {
	many    bool // a message with a status follows the answers
	answers []*nats.Msg
	err     error
	done    chan struct{}
}

// ask sends a request and returns the answers. It sets m.Reply.
func (c *calls) ask(ctx context.Context, m *nats.Msg, many bool) ([]*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := &call{many: many, done: make(chan struct{})}
	number := c.add(k)
	m.Reply = c.inbox + strconv.FormatUint(number, 36)
	if err := c.conn.PublishMsg(m); err != nil {
		c.remove(number)
		return nil, sendError(err)
	}
	select {
	case <-k.done:
		return k.answers, k.err
	case <-ctx.Done():
		c.remove(number)
		return nil, ctx.Err()
	}
}

// sendError returns the error of a call that could not be sent.
func sendError(err error) error {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", cluster.ErrAway, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", cluster.ErrRefused, err)
	}
	return err
}

func (c *calls) add(k *call) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	c.waiting[c.number] = k
	return c.number
}

func (c *calls) remove(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, number)
}

// answer handles an answer.
func (c *calls) answer(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[len(c.inbox):], 36, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.waiting[number]
	if k == nil {
		return // nobody waits for it any more
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
	if status != "" || !k.many {
		delete(c.waiting, number)
		close(k.done)
	}
}

// asked returns the number of calls so far.
func (c *calls) asked() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number
}

// lose ends the first calls, up to a number of them, because their answers may be lost.
func (c *calls) lose(first uint64) {
	for _, k := range c.removeFirst(first) {
		k.err = errLost
		close(k.done)
	}
}

// removeFirst removes the first calls, up to a number of them, and returns them.
func (c *calls) removeFirst(first uint64) (removed []*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for number, k := range c.waiting {
		if number <= first {
			delete(c.waiting, number)
			removed = append(removed, k)
		}
	}
	return removed
}
