package modeltest_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fbd86cad/broadcast"
)

// clients is how many goroutines call at the same time.
const clients = 3

// plan is the calls of one history. How they overlap is not planned.
type plan struct {
	patience, timeout time.Duration
	first             []*call // one after the other, before the clients come
	clients           [clients][]*call

	random   *rand.Rand
	own      [clients]int // the reader that a client reads
	readers  int          // how many there are
	known    int          // how many of them are there before the clients come
	messages int
}

// none is for a client that has nothing to read yet.
const none = -1

// call is one call. What its kind does not need is zero.
type call struct {
	kind     kind
	reader   int
	device   int
	strategy broadcast.Sampling
	buffer   int
	message  int
	cancel   cancel
	patience bool // publishers are patient
	waits    bool // a publisher, where publishers may have to wait; of TryPublish, for a Block reader
	crowded  bool // it may have found another publisher waiting
}

type kind int

const (
	publish kind = iota
	tryPublish
	subscribe
	next
	tryNext
	closeReader
	stats
	closeBegins
	closeRefuses
	closeEnds
	acted // a publisher has ended a reader
)

// reads reports whether a call is about a subscription that there is.
func (k kind) reads() bool { return k == next || k == tryNext || k == closeReader || k == stats }

// cancel is when the context of a call is cancelled.
type cancel int

const (
	notCancelled cancel = iota
	cancelledMeanwhile
	alreadyDone
)

// exact are the strategies whose answer is certain. A sampler's is not: while one is kept from its
// processor, publishers go on.
var exact = []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest, broadcast.Disconnect, broadcast.Block}

// answer is what a call returned.
type answer struct {
	err                  error
	ok                   bool // it delivered a message
	seq, missed, message int
	stats                broadcast.SubscriberStats
}

// newPlan makes the plan of a seed.
func newPlan(seed uint64) *plan {
	p := &plan{random: rand.New(rand.NewPCG(seed, 0)), own: [clients]int{none, none, none}}
	if p.random.IntN(4) == 0 {
		p.patience = 20 * time.Microsecond
	}
	p.timeout = p.patience + time.Duration(1+p.random.IntN(100))*time.Microsecond
	for client := range 1 + p.random.IntN(2) {
		p.first = append(p.first, p.subscribe(client, client))
	}
	p.known = p.readers
	for range p.random.IntN(maxBuffer + 1) {
		p.first = append(p.first, p.publish(tryPublish))
	}
	for client := range p.clients {
		for range 2 + p.random.IntN(2) {
			p.clients[client] = append(p.clients[client], p.any(client))
		}
	}
	p.markWaits()
	return p
}

// markWaits marks the publishers if there is anything that a publisher may have to wait for.
func (p *plan) markWaits() {
	blocks := false
	all := append(p.first, p.clients[0]...)
	all = append(append(all, p.clients[1]...), p.clients[2]...)
	for _, c := range all {
		blocks = blocks || c.kind == subscribe && c.strategy == broadcast.Block
	}
	for _, c := range all {
		c.waits = c.kind == publish && (blocks || p.patience > 0) || c.kind == tryPublish && blocks
	}
}

// any returns one of the calls that a client may make.
func (p *plan) any(client int) *call {
	reader := p.own[client]
	switch i := p.random.IntN(40); {
	case i == 0:
		return &call{kind: closeBegins}
	case i < 4:
		return p.subscribe(client, p.random.IntN(clients))
	case i < 6:
		return &call{kind: closeReader, reader: p.random.IntN(p.known)}
	case i < 24 && reader != none:
		switch {
		case i < 8:
			return &call{kind: closeReader, reader: reader}
		case i < 10:
			return &call{kind: stats, reader: reader}
		case i < 16:
			return &call{kind: tryNext, reader: reader}
		case i < 17:
			return &call{kind: next, reader: reader, cancel: alreadyDone}
		}
		return &call{kind: next, reader: reader, cancel: cancelledMeanwhile}
	case i < 30:
		return p.publish(tryPublish)
	}
	return p.publish(publish)
}

func (p *plan) publish(k kind) *call {
	p.messages++
	c := &call{kind: k, message: p.messages, patience: p.patience > 0}
	if k == publish {
		c.cancel = cancel(p.random.IntN(7) / 3) // seldom done already
	}
	return c
}

// subscribe lets a client subscribe a device, be it its own or one that is subscribed.
func (p *plan) subscribe(client, device int) *call {
	if p.readers == maxReaders {
		return p.publish(tryPublish)
	}
	c := &call{
		kind: subscribe, reader: p.readers, device: device, buffer: 1 + p.random.IntN(maxBuffer),
		strategy: exact[p.random.IntN(len(exact))],
	}
	p.own[client] = c.reader
	p.readers++
	return c
}

// String prints a call.
func (c *call) String() string {
	when := []string{"", "cancelled meanwhile", "with a done context"}[c.cancel]
	if c.crowded {
		when += " perhaps behind another"
	}
	switch c.kind {
	case publish:
		return fmt.Sprintf("Publish(message %d) %s", c.message, when)
	case tryPublish:
		return fmt.Sprintf("TryPublish(message %d) %s", c.message, when)
	case subscribe:
		return fmt.Sprintf("Subscribe(device %d, %v, buffer %d) as reader %d", c.device, c.strategy, c.buffer, c.reader)
	case next:
		return fmt.Sprintf("reader %d.Next() %s", c.reader, when)
	case tryNext:
		return fmt.Sprintf("reader %d.TryNext()", c.reader)
	case closeReader:
		return fmt.Sprintf("reader %d.Close()", c.reader)
	case stats:
		return fmt.Sprintf("reader %d.Stats()", c.reader)
	case closeBegins:
		return "Close() begins"
	case closeRefuses:
		return "Close() refuses"
	case acted:
		return fmt.Sprintf("reader %d is ended", c.reader)
	}
	return "Close() ends"
}

// describe prints what a call was answered.
func (a answer) describe(c *call) string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.ok:
		return fmt.Sprintf("message %d, Seq %d, Missed %d", a.message, a.seq, a.missed)
	case c.kind == tryNext:
		return "nothing"
	case c.kind == stats:
		return fmt.Sprintf("%+v", a.stats)
	}
	return "nil"
}
