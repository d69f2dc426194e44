package modeltest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Most faults show in a small case. So here are all of them: every order of a few messages and a
// few takes, for small buffers, with each delivery and the books after every step against an oracle
// that is plain enough to be right. Publishers are not patient, so that nothing waits.

// Six messages and six takes.
func TestEveryOrderOfMessagesAndTakesOfOneReader(t *testing.T) {
	for _, p := range policies {
		for buffer := 1; buffer <= 3; buffer++ {
			t.Run(fmt.Sprintf("%v/buffer=%d", p, buffer), func(t *testing.T) {
				s := newSmall(t)
				defer s.close()
				for _, steps := range orders(6, 6) {
					s.begin("%s", steps)
					s.subscribe("a", p, buffer, 0, 0)
					s.run(steps)
				}
			})
		}
	}
}

// Five messages and two takes of each reader, for each two policies.
func TestEveryOrderOfMessagesAndTakesOfTwoReaders(t *testing.T) {
	for i, one := range policies {
		for _, two := range policies[i:] {
			t.Run(fmt.Sprintf("%v/%v", one, two), func(t *testing.T) {
				s := newSmall(t)
				defer s.close()
				for _, steps := range orders(5, 2, 2) {
					for buffers := range 4 {
						s.begin("buffers %d and %d, %s", 1+buffers/2, 1+buffers%2, steps)
						s.subscribe("a", one, 1+buffers/2, 0, 0)
						s.subscribe("b", two, 1+buffers%2, 0, 0)
						s.run(steps)
					}
				}
			})
		}
	}
}

// Up to four messages before the reader comes, of which some are kept; then three more and five
// takes.
func TestEveryOrderOfMessagesAndTakesAfterAReplayOrAResume(t *testing.T) {
	for _, p := range policies {
		for kept := 1; kept <= 3; kept++ {
			t.Run(fmt.Sprintf("%v/history=%d", p, kept), func(t *testing.T) {
				s := newSmall(t, broadcast.WithHistory(kept, 0))
				defer s.close()
				for _, steps := range orders(3, 5) {
					for variant := range 2 * 5 * 5 {
						buffer, early, from := 1+variant%2, variant/2%5, variant/10
						s.begin("buffer %d, Replay(%d) of %d, %s", buffer, from, early, steps)
						s.publishEarly(early)
						s.replay(p, buffer, from, kept)
						s.run(steps)
						if from > early {
							continue
						}
						s.begin("buffer %d, Resume after %d of %d, %s", buffer, from, early, steps)
						positions := s.publishEarly(early)
						s.resume(p, buffer, from, kept, positions[from])
						s.run(steps)
					}
				}
			})
		}
	}
}

// orders returns every order of that many steps of each kind. The steps are p, and then a and b.
func orders(counts ...int) (all []string) {
	done := true
	for kind, n := range counts {
		if n == 0 {
			continue
		}
		done = false
		counts[kind]--
		for _, rest := range orders(counts...) {
			all = append(all, "pab"[kind:kind+1]+rest)
		}
		counts[kind]++
	}
	if done {
		return []string{""}
	}
	return all
}

// small is a broker on which one small case after the other runs, each in a chat of its own.
type small struct {
	t      *testing.T
	broker *broadcast.Broker[int]
	cases  int
	calls  uint64          // of Publish and TryPublish
	sum    broadcast.Stats // over the subscriptions of all cases but this one

	// Of the case that runs.
	name    string
	chat    string
	message int
	oracle  *oracle
	subs    []*broadcast.Subscriber[int]
	takes   int
}

func newSmall(t *testing.T, opts ...broadcast.Option) *small {
	stop := deadline(t.Name())
	t.Cleanup(stop)
	b, err := broadcast.New[int](append(opts, broadcast.WithPatience(0))...)
	require.NoError(t, err)
	return &small{t: t, broker: b}
}

// close ends the broker, whose books must show what all cases did.
func (s *small) close() {
	require.NoError(s.t, s.broker.Close())
	if s.t.Failed() {
		return
	}
	got := s.broker.Stats()
	require.Equal(s.t, s.calls, got.Accepted+got.Rejected)
	require.Equal(s.t, s.sum, broadcast.Stats{Delivered: got.Delivered, Missed: got.Missed, Pending: got.Pending, Discarded: got.Discarded})
	require.NotZero(s.t, s.cases)
}

// begin begins a case.
func (s *small) begin(format string, args ...any) {
	s.cases++
	s.name, s.chat = fmt.Sprintf(format, args...), fmt.Sprint("case ", s.cases)
	s.message, s.oracle, s.subs = 0, &oracle{}, nil
}

func (s *small) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s: %s", s.name, fmt.Sprintf(format, args...))
}

// subscribe adds a reader that joins after a Seq, of the messages since which the first ones up to
// start are gone.
func (s *small) subscribe(device string, p policy, buffer, after, start int, opts ...broadcast.SubscribeOption) {
	opts = append(opts, p.option(), broadcast.WithBuffer(buffer))
	sub, err := s.broker.Subscribe(s.chat, device, opts...)
	if err != nil {
		s.fail("%v", err)
	}
	s.subs = append(s.subs, sub)
	s.oracle.join(p, buffer, after, start)
	s.compare("Subscribe")
}

// publishEarly publishes messages before the reader comes, and returns the positions before the
// first, and after each of them.
func (s *small) publishEarly(n int) (positions []broadcast.Position) {
	scribe, err := s.broker.Subscribe(s.chat, "scribe")
	if err != nil {
		s.fail("%v", err)
	}
	positions = append(positions, scribe.Position())
	for range n {
		s.publish()
		scribe.TryNext()
		positions = append(positions, scribe.Position())
	}
	_ = scribe.Close()
	s.sum.Delivered += uint64(n)
	return positions
}

func (s *small) replay(p policy, buffer, n, kept int) {
	early := len(s.oracle.log)
	wanted, first := early-min(n, early), early-min(kept, early)
	s.subscribe("a", p, buffer, max(wanted, first), max(wanted, first), broadcast.Replay(n))
	s.recovered(wanted >= first)
}

func (s *small) resume(p policy, buffer, after, kept int, position broadcast.Position) {
	early := len(s.oracle.log)
	first := early - min(kept, early)
	s.subscribe("a", p, buffer, after, max(after, first), broadcast.Resume(position))
	s.recovered(after >= first)
}

func (s *small) recovered(want bool) {
	if got := s.subs[0].Recovered(); got != want {
		s.fail("Recovered is %v", got)
	}
}

// run does the steps of a case, then takes what is left in every other case, and closes.
func (s *small) run(steps string) {
	for i, step := range steps {
		switch step {
		case 'p':
			s.publish()
		default:
			s.take(int(step - 'a'))
		}
		s.compare(steps[:i+1])
	}
	for i, sub := range s.subs {
		for s.cases%2 == 0 && s.take(i) {
		}
		_ = sub.Close()
		r := s.oracle.readers[i]
		r.close()
		s.sum.Delivered += r.books.Delivered
		s.sum.Missed += r.books.Missed
		s.sum.Discarded += r.books.Discarded
	}
	s.compare("closed")
}

// publish publishes the next message. Publish must not wait where TryPublish need not.
func (s *small) publish() {
	s.message++
	accepted := s.oracle.publish(s.message)
	s.calls++
	err := error(nil)
	if accepted && s.cases%3 == 0 {
		err = s.broker.Publish(context.Background(), s.chat, s.message)
	} else {
		err = s.broker.TryPublish(s.chat, s.message)
	}
	switch {
	case accepted && err != nil:
		s.fail("message %d was refused: %v", s.message, err)
	case !accepted && err != broadcast.ErrOverloaded:
		s.fail("message %d: %v, it should have been refused", s.message, err)
	}
}

// take takes the next message of a reader, in one of three ways, and reports whether there was one.
func (s *small) take(reader int) bool {
	sub, r := s.subs[reader], s.oracle.readers[reader]
	want, more := r.take()
	var d broadcast.Delivery[int]
	var err error
	ok := true
	switch s.takes++; {
	case s.takes%3 == 0 || !more && r.ended == nil: // the others would wait
		d, ok = sub.TryNext()
	case s.takes%3 == 1:
		d, err = sub.Next(context.Background())
	default:
		var into [1]broadcast.Delivery[int]
		_, err = sub.NextBatch(context.Background(), into[:])
		d = into[0]
	}
	if err != nil {
		ok = false
		if more || err != r.ended {
			s.fail("taking message %d: %v", want.message, err)
		}
	}
	if got := (taken{int(d.Seq), int(d.Missed), d.Message}); ok != more || got != want {
		s.fail("%s took %v (%v), not %v (%v)", sub.Device(), got, ok, want, more)
	}
	return more
}

// compare compares what can be seen of all readers.
func (s *small) compare(when string) {
	for i, sub := range s.subs {
		r := s.oracle.readers[i]
		if got := sub.Stats(); got != r.books {
			s.fail("%s: the books of %s are %+v, not %+v", when, sub.Device(), got, r.books)
		}
		if err := sub.Err(); err != r.ended {
			s.fail("%s: %s: %v, not %v", when, sub.Device(), err, r.ended)
		}
	}
}
