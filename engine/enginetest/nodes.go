package enginetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
)

// nodeChecks are about nodes that use a driver.
var nodeChecks = []check{
	{"nodes agree on one order", func(s *suite) {
		const nodes, messages = 3, 50
		if s.Keep > 0 && s.Keep < nodes*messages {
			return // a node may miss some
		}
		c := s.chat("c")
		var ns [nodes]*cluster.Node
		var logs [nodes]log
		for i := range ns {
			ns[i] = cluster.Start(s.New(), cluster.Config{Timeout: s.Settle})
			defer ns[i].Close(context.Background())
			ns[i].Join(c, &logs[i], false)
			s.eventually("Ready", func() bool { return logs[i].isReady() })
		}
		errs := make(chan error, nodes*messages)
		var publishing sync.WaitGroup
		for i, n := range ns {
			publishing.Go(func() {
				for j := range messages {
					errs <- n.Publish(context.Background(), c, fmt.Append(nil, i, "/", j))
				}
			})
		}
		publishing.Wait()
		close(errs)
		for err := range errs {
			s.must("Publish", err)
		}
		for i := range logs {
			s.eventually("all messages in a log", func() bool { return logs[i].len() == nodes*messages })
			if !slices.Equal(logs[i].messages, logs[0].messages) {
				s.fail("two nodes were fed different orders")
			}
		}
	}},
	{"nodes forget a chat", func(s *suite) {
		c := s.chat("c")
		var ns [2]*cluster.Node
		var logs [2]log
		for i := range ns {
			// Before it forgets a chat, a node waits for two seconds for others.
			ns[i] = cluster.Start(s.New(), cluster.Config{Timeout: s.Settle + 3*time.Second})
			defer ns[i].Close(context.Background())
		}
		ns[0].Join(c, &logs[0], true)
		s.eventually("Ready", func() bool { return logs[0].isReady() })
		s.must("Publish", ns[1].Publish(context.Background(), c, []byte("1")))
		s.eventually("a message in a log", func() bool { return logs[0].len() == 1 })
		logs[0].use(true)
		if err := ns[1].Forget(context.Background(), c); err != cluster.ErrInUse {
			s.fail("Forget of a chat that is in use on another node returned %v", err)
		}
		logs[0].use(false)
		s.must("Forget", ns[1].Forget(context.Background(), c))
		s.eventually("the news in a log", func() bool { return logs[0].len() == 2 })
		n := s.open()
		s.eventually("no records", func() bool {
			ctx, cancel := s.context()
			defer cancel()
			records, err := n.session.Read(ctx, c, engine.Place{}, 10)
			return err == nil && len(records) == 0
		})
		s.must("Publish", ns[1].Publish(context.Background(), c, []byte("2")))
		ns[1].Join(c, &logs[1], true)
		want := []string{"1", "forgotten", "reset", "2"}
		s.eventually("the next chat in a log", func() bool { return logs[0].len() == len(want) })
		s.eventually("the next chat in another log", func() bool { return logs[1].len() == 1 })
		if !slices.Equal(logs[0].messages, want) || !slices.Equal(logs[1].messages, want[3:]) {
			s.fail("logs were told %q and %q", logs[0].messages, logs[1].messages)
		}
	}},
}

// log is the log of a node that is never full.
type log struct {
	mu       sync.Mutex
	messages []string // and resets after the first, and holes, which there should not be
	begun    bool
	ready    bool
	used     bool
}

func (l *log) add(messages ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, messages...)
}

func (l *log) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.messages)
}

func (l *log) Reset(_, _ uint64) {
	if l.begun {
		l.add("reset")
	}
	l.begun = true
}

func (l *log) Hole(uint64) { l.add("hole") }

func (l *log) End(error, time.Time) { l.add("end") }

func (l *log) Forgotten() { l.add("forgotten") }

func (l *log) InUse() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used
}

// use says whether the log has readers.
func (l *log) use(used bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = used
}

func (l *log) Ready() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = true
}

func (l *log) isReady() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready
}

func (l *log) Feed(batch [][]byte, _ time.Time) int {
	for _, message := range batch {
		l.add(string(message))
	}
	return len(batch)
}
