package broadcastnats

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A reason is why the keeper looks at the stream. Larger ones include smaller ones.
type reason int

const (
	none    reason = iota
	drop           // records were not handed over: the node is told, and that is all
	doubt          // the stream may be gone, or not answer
	elected        // the stream has another leader
	cut            // the connection was lost
)

// A keeper is what the session knows of the stream.
type keeper struct {
	wake chan struct{} // has a token if there is a reason

	// up says whether the node was told last that the engine can be reached. Written by the goroutine
	// that keeps the stream. Append reads it first, so that nothing is appended to a stream that has
	// not been looked at.
	up atomic.Bool

	mu     sync.Mutex
	cause  error // why the stream cannot be reached; nil if that is not known
	reason reason
	stop   context.CancelFunc // ends the look at the stream; nil if there is none
}

// tell gives the keeper a reason to look at the stream. A look that has begun before ends if it may
// wait for an answer that was lost with a leader or a connection.
func (k *keeper) tell(r reason) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r > doubt && k.stop != nil {
		k.stop()
	}
	k.reason = max(k.reason, r)
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// begin returns the context of a look, and a function that ends it.
func (k *keeper) begin(
	ctx context.Context, timeout time.Duration,
) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stop = cancel
	return ctx, cancel
}

// take takes the reason, and the token.
func (k *keeper) take() reason {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.wake:
	default:
	}
	r := k.reason
	k.reason = none
	return r
}

// note notes why the stream cannot be reached, or with nil that it can, or may.
func (k *keeper) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cause = err
}

// guess returns why the stream cannot be reached. It returns and notes err if that is not known.
func (k *keeper) guess(err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause == nil {
		k.cause = err
	}
	return k.cause
}

// Times of looking at the stream.
const (
	minTimeout = 100 * time.Millisecond // while the servers elect a leader, nothing answers
	maxTimeout = 2 * time.Second
	minPause   = 10 * time.Millisecond
	maxPause   = time.Second
)

// keep looks at the stream whenever there is a reason, and says whether the engine can be reached,
// until the session is closed.
func (s *session) keep() {
	for {
		select {
		case <-s.keeper.wake:
			s.restore(s.keeper.take())
		case <-s.ctx.Done():
			return
		}
	}
}

// restore says that the engine can be reached, once it can.
func (s *session) restore(r reason) {
	if r == drop && s.keeper.up.Load() {
		s.sink.Up(true)
		return
	}
	if r == cut {
		s.down()
	}
	asked := s.calls.asked()
	timeout := minTimeout
	for pause := minPause; s.ctx.Err() == nil; pause = min(2*pause, maxPause) {
		if s.try(timeout) == nil {
			s.calls.lose(asked) // the stream has answered since, but not to these
			s.keeper.note(nil)
			s.keeper.up.Store(true)
			s.sink.Up(true)
			return
		}
		timeout = min(2*timeout, maxTimeout)
		select {
		case <-time.After(pause):
		case <-s.keeper.wake:
			s.keeper.take() // the next look is for that too
		case <-s.ctx.Done():
		}
	}
}

// down says that the engine cannot be reached.
func (s *session) down() {
	if s.keeper.up.Swap(false) {
		s.sink.Up(false)
	}
}

// Reasons why the stream cannot be reached, while no better one is known.
var (
	errNoConnection = errors.New("no connection to a server")
	errNoAnswer     = errors.New("the stream does not answer")
)

// try looks at the stream. If that fails, it tells the node why the engine cannot be reached.
func (s *session) try(timeout time.Duration) error {
	before := s.conn.LastError()
	err := s.look(timeout)
	if err != nil {
		s.down()
		reason := s.explain(err, before)
		if s.ctx.Err() == nil {
			s.sink.Failed(fmt.Errorf("broadcastnats: %w", reason))
		}
	}
	return err
}

// explain returns why the stream cannot be reached, after a look at it has failed with err. before
// is the last error of the connection before the look.
//
// Without a connection, the errors of connecting say more than err: the client calls a handler if
// it cannot dial, and otherwise only keeps the error. A look that has ended too early says nothing,
// unless the server has denied a permission meanwhile, of which each violation has its own error.
func (s *session) explain(err, before error) error {
	k, last := &s.keeper, s.conn.LastError()
	switch known := k.guess(nil); {
	case !s.conn.IsConnected() && (last == nil || errors.Is(known, last)):
		return k.guess(errNoConnection)
	case !s.conn.IsConnected():
		err = last
	case errors.Is(err, nats.ErrNoResponders):
		err = fmt.Errorf("no JetStream: %w", err)
	case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
		// the server has told
	case last != before && errors.Is(last, nats.ErrPermissionViolation):
		err = last
	default:
		return k.guess(errNoAnswer)
	}
	k.note(err)
	return err
}

// errUnfit is the error of a look at a stream that does not work for this driver.
var errUnfit = errors.New("the stream is used for something else")

// look makes sure that the stream is there, that it is as it should be, and that it answers. It
// returns an error if it has to look again.
//
// A stream that lost its memory may have begun once more with its first sequence: one in memory, or
// of a server that has lost its disk. Some records may have sequences twice by then, so all of them
// are removed, and the stream goes on with a sequence that none has had.
func (s *session) look(timeout time.Duration) error {
	ctx, cancel := s.keeper.begin(s.ctx, timeout)
	defer cancel()
	seen := s.newest.Load() // before the look: the stream must not be behind
	stream, err := s.stream.Stream(ctx, s.options.Prefix)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return s.create()
	case err != nil:
		return err
	}
	info := stream.CachedInfo()
	config := info.Config
	switch {
	case !s.fits(config):
		return fmt.Errorf("%w: %s", errUnfit, s.options.Prefix)
	case info.State.LastSeq < seen || info.State.FirstSeq <= s.forgotten.Load():
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(s.fresh())); err != nil {
			return err
		}
	case config.MaxMsgsPerSubject >= 0 && config.MaxMsgsPerSubject < int64(s.options.Records):
		config.MaxMsgsPerSubject = int64(s.options.Records)
		if _, err := s.stream.UpdateStream(ctx, config); err != nil {
			return err
		}
	}
	return s.probe(ctx)
}

// config returns the configuration of a new stream.
func (s *session) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.options.Prefix,
		Subjects:          []string{s.subject("p.>")},
		RePublish:         &jetstream.RePublish{Source: s.subject("p.>"), Destination: s.subject("r.>")},
		MaxMsgsPerSubject: int64(s.options.Records),
		AllowDirect:       true,
		Replicas:          s.options.Replicas,
		FirstSeq:          s.fresh(),
	}
}

// fits reports whether the stream works for this driver. It may drop a record only because the chat
// has newer ones.
func (s *session) fits(c jetstream.StreamConfig) bool {
	want := s.config()
	limited := c.MaxAge > 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 || c.Retention != want.Retention
	return !limited && c.AllowDirect && c.RePublish != nil && *c.RePublish == *want.RePublish &&
		slices.Equal(c.Subjects, want.Subjects)
}

// errForgotten is the error of an append to a stream that turns out to have lost its memory.
var errForgotten = errors.New("the stream has lost its memory")

// check notes that a record was stored at a mark, after the node had seen the mark before. It
// returns an error if that proves that the stream has lost its memory.
func (s *session) check(before, mark uint64) error {
	if mark > before {
		s.see(mark)
		return nil
	}
	raise(&s.forgotten, before)
	s.keeper.tell(doubt)
	return errForgotten
}

// fresh returns a sequence that no message has had. Streams never store a million messages in a
// second for long, so the time is always ahead of their sequences.
func (s *session) fresh() uint64 {
	return max(uint64(time.Now().UnixMicro()), s.newest.Load()+1)
}

// Pause before a stream is made, with as much jitter.
const (
	createPause  = 100 * time.Millisecond
	createJitter = 400 * time.Millisecond
)

// create makes the stream, unless another node has done so after a pause. The next look has to find
// it, because another node may have been faster.
//
// The pause is because of servers that are not part of a cluster. One that is asked three times at
// once, and fails the first time because it is still deleting the old stream, makes two streams of
// the same name for the other two (seen with 2.15.3). One of them cannot be found any more, but
// stores and hands over each record too.
func (s *session) create() error {
	ctx, cancel := s.keeper.begin(s.ctx, maxTimeout)
	defer cancel()
	select {
	case <-time.After(createPause + rand.N(createJitter)):
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := s.stream.Stream(ctx, s.options.Prefix)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = s.stream.CreateStream(ctx, s.config())
	}
	if err != nil {
		return err
	}
	return s.probe(ctx)
}
