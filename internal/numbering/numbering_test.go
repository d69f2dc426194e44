package numbering

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// numbered is a table, and the list of everything that happened to it: the naive reference.
type numbered struct {
	table    Table
	places   []place
	messaged []place // the messages, by index; before them the first place
	head     uint64
}

// A place is a number of the order: that of a message, of one that was lost, or the one before the
// first of an epoch.
type place struct {
	epoch, number uint64
	index         uint64 // of the last message up to here
	lost, resets  uint64 // up to here
	begins        bool   // no message, and none was lost
}

func begin(epoch, number uint64) *numbered {
	first := []place{{epoch: epoch, number: number, begins: true}}
	return &numbered{table: Marked(epoch, number), places: first, messaged: slices.Clone(first)}
}

func (n *numbered) last() place { return n.places[len(n.places)-1] }

func (n *numbered) add(p place) { n.places = append(n.places, p) }

func (n *numbered) message() {
	n.head++
	p := n.last()
	p.number, p.index, p.begins = p.number+1, n.head, false
	n.add(p)
	n.messaged = append(n.messaged, p)
}

func (n *numbered) messages(count int) {
	for range count {
		n.message()
	}
}

func (n *numbered) hole(t *testing.T, count uint64) {
	t.Helper()
	require.NoError(t, n.table.Hole(n.head, count))
	for range count {
		p := n.last()
		p.number, p.lost, p.begins = p.number+1, p.lost+1, false
		n.add(p)
	}
}

func (n *numbered) reset(t *testing.T, epoch, number uint64) {
	t.Helper()
	require.NoError(t, n.table.Reset(n.head, epoch, number))
	p := n.last()
	n.add(place{epoch, number, p.index, p.lost, p.resets + 1, true})
}

// at returns the place of a message, or for index 0 the first place.
func (n *numbered) at(index uint64) place { return n.messaged[index] }

// same is require.Equal, but faster.
func same[V comparable](t *testing.T, want, got V, what string, args ...any) {
	if want != got {
		t.Helper()
		require.Equal(t, want, got, fmt.Sprintf(what, args...))
	}
}

// find returns the last place up to a position. ok is false if the epoch is unknown, or if the
// position has not been reached.
func (n *numbered) find(epoch, number uint64) (found place, ok bool) {
	for i, p := range n.places {
		switch {
		case p.epoch != epoch:
		case p.number <= number:
			found, ok = p, true
		case p.begins: // the position is before all that this node ever had of the epoch
			found, ok = p, true
			found.lost -= p.number - number
			if i > 0 {
				found.index = n.places[i-1].index
			}
		}
	}
	return found, ok && (number <= n.last().number || epoch != n.last().epoch)
}

// check compares every answer of the table with the list. oldest is the first index that the table
// must know.
func (n *numbered) check(t *testing.T) {
	t.Helper()
	tail, end := n.table.Tail(), n.last()
	same(t, end.number, tail.Number(n.head), "the tail")
	same(t, end.epoch, n.table.Epoch(tail), "the tail")
	same(t, end.resets, n.table.Resets(), "resets")
	for from := n.table.Oldest() + 1; from <= n.head; from++ {
		s, p := n.table.At(from), n.at(from)
		same(t, p.number, s.Number(from), "message %d", from)
		same(t, p.epoch, n.table.Epoch(s), "message %d", from)
		n.checkReader(t, s, p)
	}
	for _, p := range n.places {
		for _, number := range []uint64{p.number - 1, p.number, p.number + 1} {
			n.checkFind(t, p.epoch, number)
		}
	}
	n.checkFind(t, end.epoch+1, end.number)
	n.checkFind(t, 0, 0)
}

// checkFind compares an answer of Find.
func (n *numbered) checkFind(t *testing.T, epoch, number uint64) {
	t.Helper()
	if number > math.MaxUint64/2 {
		return // one less than 0
	}
	want, wantOK := n.find(epoch, number)
	s, index, ok := n.table.Find(epoch, number, n.head)
	const name = "position %d in epoch %d"
	same(t, wantOK, ok, name, number, epoch)
	if !ok {
		return
	}
	same(t, want.index, index, name, number, epoch)
	same(t, epoch, n.table.Epoch(s), name, number, epoch)
	same(t, number, s.Number(index), name, number, epoch)
	same(t, number, s.Within(index), name, number, epoch)
	n.checkReader(t, s, want)
}

// checkReader compares what a reader finds from a span on that has taken everything up to a place.
func (n *numbered) checkReader(t *testing.T, s *Span, at place) {
	t.Helper()
	tail, end := n.table.Tail(), n.last()
	same(t, end.lost == at.lost && end.resets == at.resets, s.Whole(tail), "whole after %+v", at)
	same(t, end.lost-at.lost, s.Lost(tail), "lost after %+v", at)
	same(t, end.resets-at.resets, s.Resets(tail), "resets after %+v", at)
	run := uint64(0) // of messages just after the place that no mark separates from it
	for index := at.index + 1; index <= n.head; index++ {
		next, to := n.at(index), s.At(index)
		same(t, next.number, to.Number(index), "message %d after %+v", index, at)
		same(t, next.epoch, n.table.Epoch(to), "message %d after %+v", index, at)
		same(t, next.lost-at.lost, s.Lost(to), "lost before message %d after %+v", index, at)
		same(t, next.resets-at.resets, s.Resets(to), "resets before message %d after %+v", index, at)
		if next.lost == at.lost && next.resets == at.resets {
			run = index - at.index
		}
	}
	if run < n.head-at.index {
		same(t, run, s.Left(at.index, n.head), "left after %+v", at)
		same(t, run, s.Left(at.index, run+1), "left of %d after %+v", run+1, at)
		same(t, s.Number(at.index+run), s.Within(n.head), "within after %+v", at)
	} else {
		same(t, run, s.Left(at.index, run), "left of %d after %+v", run, at)
	}
	same(t, 0, s.Left(at.index, 0), "left of 0")
}

// Whatever messages, holes and resets there are, and wherever a reader begins, the table says what
// the list of all numbers says.
func TestTheTableMatchesTheListOfAllNumbers(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			n := begin(1+random.Uint64N(3), random.Uint64N(5))
			for range random.IntN(25) {
				switch random.IntN(5) {
				case 0, 1:
					n.messages(1 + random.IntN(4))
				case 2, 3:
					n.hole(t, 1+random.Uint64N(3))
				default:
					n.reset(t, n.last().epoch+1+random.Uint64N(2), random.Uint64N(6))
				}
				n.check(t)
			}
		})
	}
}

func TestWithoutMarksNumbersAreIndexes(t *testing.T) {
	table := Plain(7)
	require.EqualValues(t, 7, table.Epoch(table.Tail()))
	require.EqualValues(t, 5, table.Tail().Number(5))
	require.EqualValues(t, 5, table.Tail().Within(5))
	require.EqualValues(t, 3, table.Tail().Left(5, 3))
	require.Same(t, table.Tail(), table.At(5))
	require.Same(t, table.Tail(), table.Tail().At(5))
	require.Zero(t, table.Oldest())
	require.Zero(t, table.Resets())
	for number, known := range map[uint64]bool{0: true, 4: true, 5: true, 6: false} {
		s, index, ok := table.Find(7, number, 5)
		require.Equal(t, known, ok, number)
		require.Equal(t, number, index)
		require.Zero(t, s.Lost(table.Tail()))
	}
	_, _, ok := table.Find(8, 1, 5)
	require.False(t, ok, "another log")
}

func TestTheFirstNumberIsGiven(t *testing.T) {
	n := begin(4, 10)
	require.EqualValues(t, 11, n.table.Tail().Number(1))
	n.messages(2)
	n.check(t)
}

func TestMarksAtOnePlaceAddUp(t *testing.T) {
	n := begin(1, 0)
	n.messages(2)
	before := n.table.At(2)
	n.hole(t, 2)
	n.hole(t, 3)
	between := n.table.Tail()
	n.reset(t, 2, 4)
	n.hole(t, 1)
	n.messages(2)
	require.EqualValues(t, 6, n.table.At(3).Number(3))
	for _, s := range []*Span{before, between} {
		require.Same(t, n.table.At(3), s.At(3), "every older span leads to the last one at the place")
		require.Zero(t, s.Left(2, 5))
	}
	require.EqualValues(t, 6, before.Lost(n.table.Tail()))
	require.EqualValues(t, 1, before.Resets(n.table.Tail()))
	n.check(t)
}

// Some reader has loaded a span before further marks follow at its end.
func TestASpanSeesMarksThatCameLater(t *testing.T) {
	n := begin(1, 0)
	n.messages(3)
	s := n.table.At(2)
	require.EqualValues(t, 9, s.Left(2, 9))
	require.EqualValues(t, 100, s.Within(100))
	n.hole(t, 2)
	require.EqualValues(t, 1, s.Left(2, 9))
	require.EqualValues(t, 3, s.Within(100))
	require.Zero(t, s.Left(7, 9), "an index beyond the end")
	require.Same(t, s, s.At(3))
	n.messages(1)
	require.EqualValues(t, 6, s.At(4).Number(4))
}

func TestAPositionInAHoleIsBetweenTwoMessages(t *testing.T) {
	n := begin(1, 0)
	n.messages(2)
	n.hole(t, 4)
	n.messages(2)
	at, index, ok := n.table.Find(1, 4, n.head)
	require.True(t, ok)
	require.EqualValues(t, 2, index)
	require.EqualValues(t, 4, at.Number(2), "the reader has had 3 and 4 elsewhere")
	require.EqualValues(t, 2, at.Lost(n.table.Tail()), "5 and 6")
	require.Zero(t, at.Left(2, 1), "the mark comes first")
	n.check(t)
}

func TestAPositionBeforeTheFirstNumberHasMissedThoseBetween(t *testing.T) {
	n := begin(1, 10)
	n.messages(2)
	at, index, ok := n.table.Find(1, 7, n.head)
	require.True(t, ok)
	require.Zero(t, index)
	require.EqualValues(t, 7, at.Number(0))
	require.EqualValues(t, 3, at.Lost(n.table.Tail()))
	require.Same(t, n.table.Tail(), at.At(1))

	n.reset(t, 2, 20)
	n.messages(2)
	at, index, ok = n.table.Find(2, 18, n.head)
	require.True(t, ok)
	require.EqualValues(t, 2, index)
	require.EqualValues(t, 2, at.Lost(n.table.Tail()))
	require.Zero(t, at.Resets(n.table.Tail()), "the reader knows the new numbering")
	n.check(t)
}

func TestAPositionBeyondTheEndOfAnOldEpochLeadsToTheNextOne(t *testing.T) {
	n := begin(1, 0)
	n.messages(2)
	n.reset(t, 2, 0)
	n.messages(2)
	at, index, ok := n.table.Find(1, 9, n.head)
	require.True(t, ok, "another node has handed out more of it")
	require.EqualValues(t, 2, index)
	require.EqualValues(t, 9, at.Number(2))
	require.EqualValues(t, 1, at.Resets(n.table.Tail()))
	require.Zero(t, at.Lost(n.table.Tail()))
	n.check(t)
}

func TestAPositionThatWasNotReachedIsUnknown(t *testing.T) {
	n := begin(1, 3)
	_, _, ok := n.table.Find(1, 4, 0)
	require.False(t, ok)
	n.message()
	_, _, ok = n.table.Find(1, 4, 1)
	require.True(t, ok)
	n.hole(t, 2)
	for number, reached := range map[uint64]bool{5: true, 6: true, 7: false} {
		_, _, ok = n.table.Find(1, number, 1)
		require.Equal(t, reached, ok, number)
	}
	n.reset(t, 2, 0)
	_, _, ok = n.table.Find(2, 1, 1)
	require.False(t, ok)
	_, _, ok = n.table.Find(3, 0, 1)
	require.False(t, ok, "an epoch that is yet to come")
}

func TestATableKnowsTheLast256Spans(t *testing.T) {
	n := begin(1, 0)
	first := n.table.Tail()
	for range 300 {
		n.messages(2)
		n.hole(t, 1)
	}
	n.message()
	require.Len(t, n.table.marks.list, 256)
	require.EqualValues(t, 2*(300-255), n.table.Oldest())
	for index := n.table.Oldest() + 1; index <= n.head; index++ {
		require.Equal(t, n.at(index).number, n.table.At(index).Number(index))
	}
	for index := uint64(1); index <= n.head; index++ {
		require.Equal(t, n.at(index).number, first.At(index).Number(index), "who points at a span needs no table")
	}
	require.EqualValues(t, 300, first.Lost(n.table.Tail()))

	at, index, ok := n.table.Find(1, 5, n.head)
	require.True(t, ok, "an older position of the epoch")
	require.Equal(t, n.table.Oldest(), index)
	require.EqualValues(t, 5, at.Number(index))
	oldest := n.table.At(index + 1)
	require.Equal(t, oldest.Number(index)-5, at.Lost(oldest), "all between are missed")
}

// However many messages in a row are lost, the table knows as much as before.
func TestHolesAtOnePlaceAreOne(t *testing.T) {
	n := begin(1, 0)
	n.messages(3)
	between := make([]*Span, 0, 300)
	for range 300 {
		n.hole(t, 1)
		between = append(between, n.table.Tail())
	}
	n.messages(2)
	require.Zero(t, n.table.Oldest())
	require.Len(t, n.table.marks.list, 2)
	for i, s := range between {
		require.Same(t, n.table.Tail(), s.At(4), "hole %d", i)
	}
	n.check(t)
	n.reset(t, 2, 0)
	n.reset(t, 3, 0)
	require.Len(t, n.table.marks.list, 4, "each epoch has its own")
	n.check(t)
}

func TestAnOldEpochIsRefusedWhenItIsForgotten(t *testing.T) {
	defer func(n int) { mostSpans = n }(mostSpans)
	mostSpans = 2
	n := begin(1, 0)
	n.messages(1)
	n.reset(t, 2, 0)
	n.messages(1)
	_, _, ok := n.table.Find(1, 0, n.head)
	require.True(t, ok)
	n.hole(t, 1)
	_, _, ok = n.table.Find(1, 0, n.head)
	require.False(t, ok)
	_, _, ok = n.table.Find(2, 0, n.head)
	require.True(t, ok)
}

func TestAMarkThatCannotBeChangesNothing(t *testing.T) {
	n := begin(5, 10)
	n.messages(2)
	tail := n.table.Tail()
	require.ErrorIs(t, n.table.Hole(n.head, math.MaxUint64-11), errOverflow)
	require.ErrorIs(t, n.table.Reset(n.head, 5, 0), errOldEpoch)
	require.ErrorIs(t, n.table.Reset(n.head, 4, 0), errOldEpoch)
	require.Same(t, tail, n.table.Tail())
	require.EqualValues(t, 5, tail.Left(n.head, 5), "no mark follows")
	require.NoError(t, n.table.Hole(n.head, math.MaxUint64-12), "up to the largest number")
	require.Equal(t, uint64(math.MaxUint64), n.table.Tail().Number(n.head))
}

// A new numbering may begin below the number of messages that there were.
func TestNumbersMayBeginAnewBelowTheIndex(t *testing.T) {
	n := begin(1, 0)
	n.messages(8)
	n.reset(t, 8, 0)
	require.Zero(t, n.table.Tail().Number(8))
	require.Zero(t, n.table.Tail().Within(8))
	n.messages(2)
	require.EqualValues(t, 2, n.table.Tail().Number(10))
	n.check(t)
}

// Readers follow the spans while the holder of the lock adds some: the race detector watches.
func TestReadersFollowTheSpansWithoutALock(t *testing.T) {
	n := begin(1, 0)
	first, done := n.table.Tail(), make(chan struct{})
	go func() {
		defer close(done)
		for index := uint64(1); index <= 100; index++ {
			s := first.At(index)
			_, _, _ = s.Left(index, 1), s.Within(index), n.table.Epoch(s)
			_ = first.Lost(s) + first.Resets(s)
		}
	}()
	for range 100 {
		n.message()
		n.hole(t, 1)
	}
	<-done
	n.check(t)
}
