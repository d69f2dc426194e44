package main

import (
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// A flood is messages published as fast as possible to readers that are expected to get them all
// the same.
type flood struct {
	readers  int // that read
	stuck    int // others that do not
	buffer   int
	messages int
	work     time.Duration // what a reader does for each message
	hogs     int           // goroutines that do nothing but use processors
}

// outcome is what became of a flood.
type outcome struct {
	published int
	delivered int // to those that read, all together
	took      time.Duration
}

// tally is what one reader got. It has cache lines of its own.
type tally struct {
	got, last int64
	err       error
	_         [128]byte
}

// run lets a peer work. All that is published must be delivered, unless the peer is lossy or has
// stuck readers; nothing may come twice or out of order; and everybody gets at least what fits the
// buffer.
func (f flood) run(p peers.Peer[Message], plan Plan) (outcome, error) {
	bus := p.Open(peers.Config{Buffer: f.buffer, Stuck: f.stuck > 0})
	all := names(f.readers + f.stuck)
	for _, name := range all[f.readers:] {
		bus.Join("chat", name)
	}
	var reading, ending sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(f.readers))
	done := make(chan struct{})
	tallies := make([]tally, f.readers)
	for i := range tallies {
		seq := bus.Join("chat", all[i])
		reading.Go(func() {
			tallies[i].read(seq, f.work, func() {
				if left.Add(-1) == 0 {
					close(done)
				}
			})
		})
	}
	runtime.GC()
	stop := hog(f.hogs, &ending)

	began := time.Now()
	t := talk{publish: bus.Publisher("chat")}
	step := 16 // messages without a look at the clock
	if f.hogs > 0 {
		step = 1
	}
	for time.Since(began) < plan.Cap && t.seq < int64(f.messages) {
		t.say(min(step, f.messages-int(t.seq)))
	}
	ends, err := sayEnd(t.publish, done)
	o := outcome{published: int(t.seq), took: time.Since(began)}
	stop()
	ending.Wait()
	bus.Close()
	if err != nil {
		return o, err // those that still read may still write their tallies
	}
	reading.Wait()
	strict := !p.Lossy && f.stuck == 0
	for i := range tallies {
		if err := tallies[i].check(t.seq, int64(f.buffer-ends), strict); err != nil {
			return o, err
		}
		o.delivered += int(tallies[i].got)
	}
	return o, nil
}

// read reads until the end is told.
func (t *tally) read(seq iter.Seq[Message], work time.Duration, end func()) {
	ended := false
	for m := range seq {
		switch {
		case ended: // told more than once
		case m[wordSeq] == finish:
			ended = true
			end()
		case m[wordSeq] <= t.last:
			t.err = disorder(m[wordSeq], t.last+1)
		default:
			t.last = m[wordSeq]
			t.got++
			if work > 0 {
				spin(work)
			}
		}
	}
}

// check holds the tally against what was published, and what at least must have arrived of it.
func (t *tally) check(published, least int64, strict bool) error {
	switch {
	case t.err != nil:
		return t.err
	case strict && t.got != published, t.got < min(published, least):
		return fmt.Errorf("a reader got %d of %d messages: %w", t.got, published, errOrder)
	}
	return nil
}

// sayEnd tells all readers that nothing more comes, and again, because it may be dropped too. It
// returns how often: each may have taken the place of a message.
func sayEnd(publish func(Message), done <-chan struct{}) (ends int, err error) {
	for wait := 50 * time.Millisecond; wait < roundDeadline; wait *= 2 {
		publish(Message{wordSeq: finish})
		ends++
		select {
		case <-done:
			return ends, nil
		case <-time.After(wait):
		}
	}
	return ends, fmt.Errorf("readers have not got to the end: %w", errOrder)
}

// hog starts goroutines that use processors until stop is called. It returns when all of them have
// begun.
func hog(n int, group *sync.WaitGroup) (stop func()) {
	var stopped atomic.Bool
	var begun sync.WaitGroup
	begun.Add(n)
	for range n {
		group.Go(func() {
			begun.Done()
			for !stopped.Load() {
				spin(time.Microsecond)
			}
		})
	}
	begun.Wait()
	return func() { stopped.Store(true) }
}

// spin works for as long as a processor of its own would take.
func spin(d time.Duration) {
	steps := int(float64(d) * stepsPerNanosecond())
	x := uint64(steps)
	for range steps {
		x = x*6364136223846793005 + 1442695040888963407
	}
	sink.Store(x)
}

var sink atomic.Uint64 // so that no compiler leaves the work out

// stepsPerNanosecond is how fast spin works when nobody disturbs it.
var stepsPerNanosecond = sync.OnceValue(func() float64 {
	const steps = 100_000
	fastest := time.Hour
	for range 20 {
		began := time.Now()
		x := uint64(began.Nanosecond())
		for range steps {
			x = x*6364136223846793005 + 1442695040888963407
		}
		sink.Store(x)
		fastest = min(fastest, time.Since(began))
	}
	return steps / float64(fastest.Nanoseconds()+1)
})
