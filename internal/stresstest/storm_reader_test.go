package stresstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast"
)

// device subscribes, reads, and begins again, until the broker is closed.
func (s *storm) device(id int) {
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
	published := 0
	for {
		r, err := s.subscribe(rnd, id, &published)
		if errors.Is(err, broadcast.ErrClosed) {
			return
		}
		if !assert.NoError(s.t, err) {
			return
		}
		for n := rnd.IntN(200); n > 0 && r.Err() == nil; n-- {
			r.readSomehow()
			if rnd.IntN(50) == 0 {
				time.Sleep(rand.N(3 * time.Millisecond)) // slow, now and then: without it nobody stalls
			}
		}
		r.leave()
	}
}

// onlooker is one of a crowd: it waits for messages, one at a time, until the broker is closed.
func (s *storm) onlooker(device string) {
	subscriber, err := s.witness.subscribe("0", device)
	if err != nil {
		assert.ErrorIs(s.t, err, broadcast.ErrClosed)
		return
	}
	(&stormReader{watched: subscriber, storm: s}).readRest()
}

// subscribe subscribes with options of all kinds.
func (s *storm) subscribe(rnd *rand.Rand, id int, published *int) (*stormReader, error) {
	chat, device := fmt.Sprint(rnd.IntN(s.chats)), fmt.Sprint(rnd.IntN(stormNames))
	r := &stormReader{storm: s, rnd: rnd, id: id, published: published}
	var opts []broadcast.SubscribeOption
	switch rnd.IntN(8) {
	case 0: // the broker's
	case 1:
		opts = append(opts, broadcast.WithBuffer(64)) // Messages reads ahead
	default:
		opts = append(opts, broadcast.WithBuffer(1+rnd.IntN(12)))
	}
	switch i := rnd.IntN(12); i {
	case 5:
		opts = append(opts, broadcast.WithSampler(func(backlog broadcast.Backlog[parcel], next parcel) int {
			return next.number % (backlog.Len() + 1)
		}))
	case 6:
		opts = append(opts, broadcast.WithSampler(func(backlog broadcast.Backlog[parcel], next parcel) int {
			if next.number%8 == 0 {
				panic(errStormSampler)
			}
			return backlog.Len()
		}))
	case 7:
		opts = append(opts, broadcast.WithSampler(func(backlog broadcast.Backlog[parcel], next parcel) int {
			if next.number%8 == 0 {
				return -1
			}
			return 0
		}))
	default:
		opts = append(opts, broadcast.WithSampling(broadcast.Sampling(i%8))) // Block is rare: it slows all others down
	}
	if rnd.IntN(8) == 0 {
		device = "" // anonymous
	}
	if rnd.IntN(2) == 0 {
		opts = append(opts, broadcast.WithStallTimeout(time.Millisecond))
	}
	if rnd.IntN(4) == 0 {
		ctx, cancel := context.WithCancelCause(context.Background())
		timer := time.AfterFunc(rand.N(5*time.Millisecond), func() { cancel(errStormUntil) })
		r.stop = func() { timer.Stop(); cancel(nil) }
		opts = append(opts, broadcast.Until(ctx))
	}
	var err error
	if r.watched, err = s.witness.subscribe(chat, device, opts...); err != nil {
		if r.stop != nil {
			r.stop()
		}
		if errors.Is(err, errStormUntil) || errors.Is(err, context.Canceled) {
			return s.subscribe(rnd, id, published)
		}
		return nil, err
	}
	return r, nil
}

// stormReader reads one subscription, on the goroutine of its device.
type stormReader struct {
	*watched

	storm     *storm
	rnd       *rand.Rand
	id        int    // as a publisher
	published *int   // so many messages has it made
	stop      func() // ends Until's context, if there is one
	ch        <-chan broadcast.Delivery[parcel]

	into [16]broadcast.Delivery[parcel] // for NextBatch
}

// readSomehow takes some messages, in another way each time.
func (r *stormReader) readSomehow() {
	if r.ch != nil {
		r.receive()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rand.N(100*time.Microsecond))
	defer cancel()
	way := r.rnd.IntN(5)
	if r.rnd.IntN(50) == 0 {
		way = 5
	}
	r.storm.seen.reads[way].Add(1)
	k := 1 + r.rnd.IntN(20)
	switch way {
	case 0:
		for range k {
			if d, ok := r.TryNext(); ok {
				r.took(d)
			}
			for _, d := range r.into[:r.TryNextBatch(r.into[:r.rnd.IntN(4)])] {
				r.took(d)
			}
		}
	case 1:
		d, err := r.Next(ctx)
		if err == nil {
			r.took(d)
		}
	case 2:
		n, err := r.NextBatch(ctx, r.into[:1+r.rnd.IntN(len(r.into))])
		for _, d := range r.into[:n] {
			r.took(d)
		}
		assert.Equal(r.storm.t, err != nil, n == 0, "NextBatch: %d, %v", n, err)
	case 3:
		for d := range r.All(ctx) {
			r.took(d)
			if k--; k == 0 {
				break
			}
			r.publish()
		}
	case 4:
		for m := range r.Messages(ctx) {
			r.tookMessage(m)
			r.storm.seen.deliveries.Add(1)
			r.unknown = true
			if k--; k == 0 {
				break
			}
			r.publish()
		}
	case 5:
		r.ch = r.Chan()
	}
}

// publish publishes to the very chat that is being read, now and then.
func (r *stormReader) publish() {
	if r.rnd.IntN(16) == 0 && *r.published < stormMessages {
		_ = r.storm.publishSomehow(r.rnd, r.id, *r.published, r.chat)
		*r.published++
	}
}

// receive takes from Chan what comes within a moment.
func (r *stormReader) receive() {
	moment := time.NewTimer(rand.N(100 * time.Microsecond))
	defer moment.Stop()
	for {
		select {
		case d, ok := <-r.ch:
			if !ok {
				assert.Error(r.storm.t, r.Err(), "Chan is closed")
				r.ch = nil
				return
			}
			r.took(d)
		case <-moment.C:
			return
		}
	}
}

// took checks one delivery, and counts it.
func (r *stormReader) took(d broadcast.Delivery[parcel]) {
	r.watched.took(d)
	r.storm.seen.missed.Add(int64(d.Missed))
	r.storm.seen.deliveries.Add(1)
}

// leave ends the subscription, or lets others end it.
func (r *stormReader) leave() {
	t := r.storm.t
	switch {
	case r.Err() != nil:
	case r.storm.leaves && r.rnd.IntN(4) == 0:
		return // somebody or something will end it
	default:
		assert.NoError(t, r.Close())
		assert.Error(t, r.Err(), "Close returned")
		<-r.Done()
	}
	r.readRest()
}

// readRest takes what a subscription has left, until it has ended and nothing is left.
func (r *stormReader) readRest() {
	if r.stop != nil {
		r.stop()
	}
	for r.ch != nil {
		r.receive()
	}
	for {
		d, err := r.Next(context.Background())
		if err == nil {
			r.took(d)
			continue
		}
		if !errors.Is(err, r.Err()) {
			r.storm.t.Errorf("Next returned %v, Err %v", err, r.Err())
		}
		return
	}
}
