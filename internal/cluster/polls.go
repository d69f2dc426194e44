package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// pollInterval is the longest time between two notes of a poll. The first follow faster.
const pollInterval = 100 * time.Millisecond

// polls are the questions of a node to all nodes.
type polls struct {
	mu   sync.Mutex
	last uint64           // number of the newest
	open map[uint64]*poll // by number; nil before the first
}

// A poll is a question that nodes answer with yes or no. The lock of the polls guards it.
type poll struct {
	number  uint64
	answers map[string]bool // the last of each other node
	news    chan struct{}   // has a token if there was an answer since it was taken
}

// poll asks all nodes a question, again and again, until done returns true: it is told whether a
// node has answered yes, and whether all that are alive have answered. poll returns the error of
// done or, if it gives up first, ErrClosed, ErrAway if the node refuses to wait for the engine, or
// the end of ctx, a context of withTimeout.
func (n *Node) poll(
	ctx context.Context, question note, done func(yes, all bool) (bool, error),
) error {
	q := n.polls.begin()
	defer n.polls.end(q)
	question.Kind, question.Poll = notePoll, q.number
	again, interval := time.NewTimer(0), minBackoff
	defer again.Stop()
	for {
		switch up := n.live.Load() != nil; {
		case n.closing.Load():
			return ErrClosed
		case up:
			yes, all := n.polls.result(q, n.peers.names())
			if ok, err := done(yes || n.reply(question), all); ok {
				return err
			}
		case n.config.Refuse:
			return engine.ErrAway
		}
		select {
		case <-q.news:
		case <-again.C:
			n.mail.send("", question) // is lost while the engine is away
			again.Reset(interval)
			interval = min(2*interval, pollInterval)
		case <-n.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return endOf(ctx)
		}
	}
}

func (p *polls) begin() *poll {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	q := &poll{number: p.last, answers: make(map[string]bool), news: make(chan struct{}, 1)}
	if p.open == nil {
		p.open = make(map[uint64]*poll)
	}
	p.open[q.number] = q
	return q
}

func (p *polls) end(q *poll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, q.number)
}

// answer notes the answer of another node.
func (p *polls) answer(n note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.open[n.Poll]
	if q == nil {
		return
	}
	q.answers[n.Node] = n.Yes
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// result reports whether a node has answered with yes, and whether all the given nodes have
// answered.
func (p *polls) result(q *poll, nodes []string) (yes, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, y := range q.answers {
		yes = yes || y
	}
	all = true
	for _, node := range nodes {
		_, ok := q.answers[node]
		all = all && ok
	}
	return yes, all
}
