package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// epoch is where a chat begins in these tests.
var epoch = engine.Place{Epoch: 1 << 62}

// sessionChecks are about the sessions of a driver.
var sessionChecks = []check{
	{"a chat without records has no head", func(s *suite) {
		n, c := s.open(), s.chat("c")
		if head := n.newest(c)[0]; head.Place != (engine.Place{}) || head.ID != "" {
			s.fail("Heads returned %+v", head)
		}
		ctx, cancel := s.context()
		defer cancel()
		records, err := n.session.Read(ctx, c, engine.Place{}, 10)
		s.must("Read", err)
		s.same("Read", records, nil)
	}},
	{"what was appended can be read", func(s *suite) {
		a, b, c := s.open(), s.open(), s.chat("c")
		want := []engine.Record{a.append(c, epoch, "1")}
		for i, messages := range [][]string{{"a"}, {"", "\x00\xff\r\n"}, {"c", "d", "e"}} {
			want = append(want, a.append(c, want[i].Place, fmt.Sprint("id", i), messages...))
		}
		want = s.kept(want)
		newest := want[len(want)-1]
		last := newest.Place
		for _, n := range []*node{a, b} {
			var heads []engine.Record
			s.eventually("Heads", func() bool {
				heads = n.newest(c)
				return heads[0].Place == last
			})
			s.same("Heads", heads, []engine.Record{{Place: last, ID: newest.ID}})
			s.same("Read", n.read(c, engine.Place{}, 100, last), want)
			s.same("Read in pieces", n.read(c, engine.Place{}, 1, last), want)
			s.same("Read after a place", n.read(c, want[0].Place, 100, last), want[1:])
		}
	}},
	{"marks grow, and each record names the one before", func(s *suite) {
		n, c := s.open(), s.chat("c")
		r, other := n.append(c, epoch, "0", "first"), epoch
		all := []engine.Record{r}
		for i := range 50 {
			next := n.append(c, r.Place, fmt.Sprint(i+1), "message")
			if next.Mark <= r.Mark {
				s.fail("mark %d after %d", next.Mark, r.Mark)
			}
			other = n.append(s.chat("other"), other, fmt.Sprint(i), "x").Place
			r, all = next, append(all, next)
		}
		want := r.Mark
		for _, r := range slices.Backward(n.readKept(c, engine.Place{}, all)) {
			if r.Mark != want {
				s.fail("a record after mark %d is missing", r.Mark)
			}
			want = r.Prev
		}
	}},
	{"a record is appended only after the newest one", func(s *suite) {
		a, b, c := s.open(), s.open(), s.chat("c")
		first := a.append(c, epoch, "1", "a")
		second := b.append(c, first.Place, "2", "b")
		other := a.append(s.chat("other"), epoch, "3", "c")
		for what, after := range map[string]engine.Place{
			"none":                    epoch,
			"the first":               first.Place,
			"a later one":             {Epoch: second.Epoch, Seq: second.Seq, Mark: second.Mark + 1000},
			"the newest of all chats": {Epoch: second.Epoch, Seq: second.Seq, Mark: other.Mark},
		} {
			for _, n := range []*node{a, b} {
				if _, err := n.try(c, after, "x", "x"); !errors.Is(err, engine.ErrConflict) {
					s.fail("Append after %s returned %v", what, err)
				}
			}
		}
		third := a.append(c, second.Place, "4", "d")
		s.same("Read", b.read(c, second.Place, 10, third.Place), []engine.Record{third})
	}},
	{"of appends with the same condition one succeeds", func(s *suite) {
		nodes, c := []*node{s.open(), s.open(), s.open()}, s.chat("c")
		after := epoch
		for round := range 20 {
			places := make([]engine.Place, len(nodes)*3)
			errs := make([]error, len(places))
			var calls sync.WaitGroup
			for i := range places {
				calls.Go(func() {
					places[i], errs[i] = nodes[i%len(nodes)].try(c, after, fmt.Sprint(round, i), "x")
				})
			}
			calls.Wait()
			var won int
			for i, err := range errs {
				switch {
				case err == nil:
					won++
					after = places[i]
				case !errors.Is(err, engine.ErrConflict):
					s.fail("Append: %v", err)
				}
			}
			if won != 1 {
				s.fail("%d of %d succeeded", won, len(places))
			}
		}
	}},
	{"an epoch may begin after a record", func(s *suite) {
		n, c := s.open(), s.chat("c")
		first := n.append(c, epoch, "1", "a", "b")
		n.follow(c)
		begin := engine.Place{Epoch: epoch.Epoch + 1, Mark: first.Mark}
		second := n.append(c, begin, "2")
		third := n.append(c, second.Place, "3", "c")
		want := []engine.Record{second, third}
		s.same("Read", n.read(c, first.Place, 10, third.Place), s.kept(want))
		s.eventually("two records handed over", func() bool { return len(n.handed(c)) == 2 })
		s.same("Stored", n.handed(c), want)
	}},
	{"what is stored is handed to all that follow, as it is read", func(s *suite) {
		a, b, other, c := s.open(), s.open(), s.open(), s.chat("c")
		a.follow(c, s.chat("unused"))
		b.follow(c)
		other.follow(s.chat("unused"))
		after := epoch
		var want []engine.Record
		for i := range 100 {
			r := []*node{a, b, other}[i%3].append(c, after, fmt.Sprint(i), fmt.Sprint("message ", i), "")
			want, after = append(want, r), r.Place
		}
		for _, n := range []*node{a, b} {
			s.eventually("the last record handed over", func() bool { return len(n.handed(c)) == len(want) })
			s.same("Stored", n.handed(c), want)
		}
		if len(other.handed(c)) > 0 {
			s.fail("a record was handed to a node that does not follow the chat")
		}
	}},
	{"a chat that is not followed any more is not handed over", func(s *suite) {
		n, c := s.open(), s.chat("c")
		n.follow(c, s.chat("d"))
		r := n.append(c, epoch, "1", "a")
		s.eventually("a record", func() bool { return len(n.handed(c)) == 1 })
		n.session.Unfollow(c)
		d := n.append(s.chat("d"), epoch, "2", "b")
		s.eventually("a record of another chat", func() bool { return len(n.handed(s.chat("d"))) == 1 })
		r = n.append(c, r.Place, "3", "c")
		n.append(s.chat("d"), d.Place, "4", "d")
		s.eventually("a record of another chat", func() bool { return len(n.handed(s.chat("d"))) == 2 })
		if len(n.handed(c)) > 1 {
			s.fail("a record was handed over after Unfollow")
		}
		n.follow(c)
		n.append(c, r.Place, "5", "e")
		s.eventually("a record after Follow", func() bool { return len(n.handed(c)) == 2 })
	}},
	{"names are told apart, whatever they consist of", func(s *suite) {
		n := s.open()
		names := []string{
			"a", "A", "a.b", "a b", "a.*", "a.>", "*", ">", ".", "..", "a.", "a/b", "a\\b", "a:b", "{a}",
			"\x00", "\n", "ä", "a\u0308", "日本", "%41", "a=", "$a", strings.Repeat("x", 200),
			strings.Repeat("x", 200) + "y",
		}
		for i := range names {
			names[i] = s.chat(names[i])
		}
		n.follow(names...)
		want := make([]engine.Place, len(names))
		for i, name := range names {
			want[i] = n.append(name, epoch, fmt.Sprint(i), name).Place
		}
		s.eventually("Heads", func() bool { return slices.Equal(n.heads(names...), want) })
		for _, name := range names {
			s.eventually("a record", func() bool { return len(n.handed(name)) == 1 })
			if got := string(n.handed(name)[0].Batch[0]); got != name {
				s.fail("%q was handed over for chat %q", got, name)
			}
		}
	}},
	{"a thousand chats are followed and asked for together", func(s *suite) {
		n := s.open()
		var names []string
		for i := range 1000 {
			names = append(names, s.chat(fmt.Sprint(i)))
		}
		n.follow(names...)
		want := make([]engine.Place, len(names))
		for i := 0; i < len(names); i += 7 {
			want[i] = n.append(names[i], epoch, fmt.Sprint(i), "x").Place
		}
		s.eventually("Heads", func() bool { return slices.Equal(n.heads(names...), want) })
	}},
	{"a large batch is stored whole", func(s *suite) {
		n, c := s.open(), s.chat("c")
		n.follow(c)
		var messages []string
		for i := range 256 {
			messages = append(messages, strings.Repeat(fmt.Sprint(i%10), 1000))
		}
		r := n.append(c, epoch, "1", messages...)
		s.same("Read", n.read(c, engine.Place{}, 10, r.Place), []engine.Record{r})
		s.eventually("the record", func() bool { return len(n.handed(c)) == 1 })
		s.same("Stored", n.handed(c), []engine.Record{r})
	}},
	{"of old records the newest stay", func(s *suite) {
		if s.Keep == 0 {
			return
		}
		n, c := s.open(), s.chat("c")
		after := epoch
		var all []engine.Record
		for i := range 3*s.Keep + 1 {
			r := n.append(c, after, fmt.Sprint(i), "x")
			all, after = append(all, r), r.Place
		}
		for what, place := range map[string]engine.Place{
			"Read": {}, "Read after a place that is gone": all[0].Place,
		} {
			s.same(what, n.readKept(c, place, all), s.kept(all))
		}
	}},
	{"what is purged is gone, and nothing else", func(s *suite) {
		const records, purged = 5, 3
		a, b, c := s.open(), s.open(), s.chat("c")
		b.purge(c, 1) // there is nothing
		after, other := epoch, epoch
		var all []engine.Record
		for i := range records {
			r := a.append(c, after, fmt.Sprint(i), "x")
			all, after = append(all, r), r.Place
			other = a.append(s.chat("other"), other, fmt.Sprint(i), "y").Place
		}
		left := all[max(purged, records-len(s.kept(all))):]
		for range 2 {
			b.purge(c, all[purged-1].Mark)
		}
		b.readOnly("Read after Purge", c, left)
		newest := a.append(c, after, "newest", "x")
		b.purge(c, newest.Mark)
		s.eventually("no head after Purge", func() bool { return b.heads(c)[0] == engine.Place{} })
		if _, err := a.try(c, newest.Place, "x", "x"); !errors.Is(err, engine.ErrConflict) {
			s.fail("Append after a record that was purged returned %v", err)
		}
		first := a.append(c, engine.Place{Epoch: epoch.Epoch + 1}, "first", "x")
		if first.Mark <= newest.Mark {
			s.fail("mark %d after mark %d, which was purged", first.Mark, newest.Mark)
		}
		b.purge(c, newest.Mark)
		b.readOnly("Read of what was stored after Purge", c, []engine.Record{first})
		s.eventually("the head of another chat", func() bool { return b.heads(s.chat("other"))[0] == other })
	}},
	{"calls end with their contexts", func(s *suite) {
		n, c := s.open(), s.chat("c")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		begin := time.Now()
		_, headsErr := n.session.Heads(ctx, c)
		_, readErr := n.session.Read(ctx, c, engine.Place{}, 1)
		for what, err := range map[string]error{
			"Heads": headsErr, "Read": readErr, "Follow": n.session.Follow(ctx, c),
			"Purge": n.session.Purge(ctx, c, 1),
		} {
			if err == nil {
				s.fail("%s with a context that is done returned nil", what)
			}
		}
		if time.Since(begin) > s.Settle {
			s.fail("calls with a context that is done took %v", time.Since(begin))
		}
	}},
	{"after Close there is nothing", func(s *suite) {
		a, b, c := s.open(), s.open(), s.chat("c")
		a.follow(c)
		b.follow(c)
		after := epoch
		for i := range 50 {
			if i == 25 {
				ctx, cancel := s.context()
				defer cancel()
				s.must("Close", a.session.Close(ctx))
				a.mu.Lock()
				a.closed = true
				a.mu.Unlock()
				s.nodes = slices.DeleteFunc(s.nodes, func(n *node) bool { return n == a })
			}
			after = b.append(c, after, fmt.Sprint(i), "x").Place
		}
		s.eventually("the last record", func() bool { return len(b.handed(c)) == 50 })
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.late {
			s.fail("the sink was called after Close")
		}
	}},
	{"an append is answered at most once, and not after Close", func(s *suite) {
		const appends = 20
		n, c := s.open(), s.chat("c")
		var mu sync.Mutex
		var answers [2 * appends]int
		closed, late := false, false
		begin := func(i int) {
			n.session.Append(c+fmt.Sprint(i), epoch, nil, "1", func(engine.Place, error) {
				mu.Lock()
				defer mu.Unlock()
				answers[i]++
				late = late || closed
			})
		}
		for i := range appends {
			begin(i)
		}
		s.eventually("answers", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return !slices.Contains(answers[:appends], 0)
		})
		for i := range appends {
			begin(appends + i)
		}
		ctx, cancel := s.context()
		defer cancel()
		s.must("Close", n.session.Close(ctx))
		mu.Lock()
		closed = true
		mu.Unlock()
		s.nodes = nil
		other := s.open()
		for i := range appends { // so that an answer would have come
			other.append(s.chat(fmt.Sprint("d", i)), epoch, "1")
		}
		mu.Lock()
		defer mu.Unlock()
		if late {
			s.fail("an append was answered after Close")
		}
		if most := slices.Max(answers[:]); most > 1 {
			s.fail("an append was answered %d times", most)
		}
	}},
	{"a node that was cut off comes back", func(s *suite) {
		if s.Cut == nil {
			return
		}
		a, b, c := s.open(), s.open(), s.chat("c")
		a.follow(c)
		first := a.append(c, epoch, "1", "a")
		s.eventually("a record", func() bool { return len(a.handed(c)) == 1 })
		a.mu.Lock()
		ups := len(a.ups)
		a.mu.Unlock()
		restore := s.Cut(a.driver)
		s.eventually("Up(false), or an error", func() bool {
			_, err := a.try(s.chat("d"), epoch, "x")
			return err != nil && !errors.Is(err, engine.ErrConflict)
		})
		second := b.append(c, first.Place, "2", "b")
		restore()
		s.eventually("Up(true)", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.ups) > ups && a.ups[len(a.ups)-1]
		})
		s.same("Read", a.read(c, first.Place, 10, second.Place), []engine.Record{second})
		third := b.append(c, second.Place, "3", "c")
		s.eventually("a record without another Follow", func() bool {
			handed := a.handed(c)
			return handed[len(handed)-1].Mark == third.Mark
		})
		a.append(c, third.Place, "4", "d")
	}},
	{"what is sent reaches those that follow, or all", func(s *suite) {
		a, b, c, chat := s.open(), s.open(), s.open(), s.chat("c")
		b.follow(chat)
		for _, n := range []*node{b, c} {
			s.eventually("what was sent to all", func() bool {
				a.send("", s.chat("2")) // again, because it may be lost
				return slices.Contains(n.got(""), s.chat("2"))
			})
		}
		s.eventually("what was sent to a chat", func() bool {
			a.send(chat, "1\x00\xff")
			return slices.Contains(b.got(chat), "1\x00\xff")
		})
		if len(c.got(chat)) > 0 {
			s.fail("something was sent to a node that does not follow the chat")
		}
	}},
	{"an engine that has lost its memory begins anew", func(s *suite) {
		if s.Forget == nil {
			return
		}
		n, c := s.open(), s.chat("c")
		n.follow(c)
		marks := make(map[uint64]bool)
		after := epoch
		for i := range 20 {
			after = n.append(c, after, fmt.Sprint(i), "x").Place
			marks[after.Mark] = true
		}
		s.Forget()
		s.eventually("no head", func() bool {
			ctx, cancel := s.context()
			defer cancel()
			heads, err := n.session.Heads(ctx, c)
			return err == nil && heads[0].Place == engine.Place{}
		})
		s.eventually("Up(true)", n.isUp)
		if _, err := n.try(c, after, "x", "x"); err == nil {
			s.fail("Append after a record that was forgotten returned nil")
		}
		r := n.insist(c, engine.Place{Epoch: epoch.Epoch + 1}, "y")
		for i := range 20 {
			if marks[r.Mark] {
				s.fail("mark %d was used twice", r.Mark)
			}
			r = n.insist(c, r, fmt.Sprint("z", i), "x")
		}
	}},
}

// kept returns those of all records of a chat that the engine keeps.
func (s *suite) kept(all []engine.Record) []engine.Record {
	if s.Keep == 0 {
		return all
	}
	return all[max(0, len(all)-s.Keep):]
}
