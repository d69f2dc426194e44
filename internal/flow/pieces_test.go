package flow

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// watchedLog counts for how many readers something changes from one look of a publisher at the head
// to the next, which is in another hold of the lock.
type watchedLog struct {
	head     uint64
	g        *Gate
	patience time.Duration
	cursors  []*Cursor
	seen     []seen
	most     int
	looks    int // how often a publisher has asked for the head, at least once in each piece
	refusal  error

	acts                     func() // called by Act, if it is not nil
	unsettled, mostUnsettled int    // calls of Act since Settle was called
}

type seen struct {
	state State
	word  Word
}

func (l *watchedLog) Head() uint64 {
	l.looks++
	changed := 0
	for i, c := range l.cursors {
		if now := (seen{c.state, c.Load()}); now != l.seen[i] {
			l.seen[i] = now
			changed++
		}
	}
	l.most = max(l.most, changed)
	return l.head
}

func (l *watchedLog) Refusal() error { return l.refusal }

func (l *watchedLog) Patience() time.Duration { return l.patience }

func (l *watchedLog) Act(c *Cursor) {
	l.g.TakeOff(c, false)
	if l.acts != nil {
		l.acts()
	}
	l.unsettled++
	l.mostUnsettled = max(l.mostUnsettled, l.unsettled)
}

func (l *watchedLog) GiveUp(*Cursor, bool) {}

func (l *watchedLog) Settle() {
	l.g.Lock() // deadlocks if it is held
	defer l.g.Unlock()
	l.unsettled = 0
}

// newWatched returns a log with full readers that nobody has looked at.
func newWatched(readers int) *watchedLog {
	g := NewGate()
	l := &watchedLog{head: 2, g: &g}
	for range readers {
		c := new(Cursor)
		c.Start(0, 0, 2, false)
		g.Join(c, true)
		l.cursors, l.seen = append(l.cursors, c), append(l.seen, seen{c.state, c.Load()})
	}
	return l
}

const manyReaders = 8_000

// However many readers become full at the same message, a publisher does something with a bounded
// number of them in one hold of the lock.
func TestAPublisherGoesThroughManyReadersInPieces(t *testing.T) {
	for name, admit := range map[string]func(l *watchedLog) error{
		"Publish": func(l *watchedLog) error {
			l.patience = 10 * time.Millisecond
			return l.g.Admit(context.Background(), l, time.Second)
		},
		"Publish, patience 0": func(l *watchedLog) error {
			return l.g.Admit(context.Background(), l, time.Second)
		},
		"TryPublish": func(l *watchedLog) error { return l.g.TryAdmit(l) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newWatched(manyReaders)
				l.g.Lock()
				require.NoError(t, admit(l))
				l.Head()
				require.NotZero(t, l.most)
				require.LessOrEqual(t, l.most, 2*128)
				require.LessOrEqual(t, l.mostUnsettled, 128)
				for _, c := range l.cursors {
					require.Equal(t, Off, c.state)
				}
				l.g.Unlock()
				require.Empty(t, l.g.Leftovers(0))
			})
		})
	}
}

// A publisher whose context is done while strategies act for it is admitted all the same.
func TestAPublisherDoesNotGiveUpOnceStrategiesAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newWatched(manyReaders)
		ctx, cancel := context.WithCancel(context.Background())
		l.acts = cancel
		l.g.Lock()
		l.patience = time.Millisecond
		require.NoError(t, l.g.Admit(ctx, l, time.Second))
		require.Error(t, ctx.Err())
		l.g.Unlock()
	})
}

// Others are let in between two pieces, though not each time.
func TestTheLockIsFreeBetweenPieces(t *testing.T) {
	for range 100 {
		if othersGetTheLock(t) {
			return
		}
	}
	t.Error("nobody was let in")
}

// othersGetTheLock reports whether somebody got the lock while a publisher spent many readers.
func othersGetTheLock(t *testing.T) (got bool) {
	l := newWatched(manyReaders)
	over := false // guarded by the lock, like got
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			l.g.Lock()
			if n := l.g.count(listSpent); !over && n > 0 && n < manyReaders {
				got = true
			}
			l.g.Unlock()
		}
	}()
	l.g.Lock()
	require.NoError(t, l.g.TryAdmit(l))
	over = true
	l.g.Unlock()
	close(stop)
	<-stopped
	return got
}

// A publisher that is patient is not admitted because one that is not has spent the readers that it
// waits for, and has yet to accept its message.
func TestNobodyIsAdmittedWhileAPublisherThatDoesNotWaitMakesRoom(t *testing.T) {
	for range 12 {
		synctest.Test(t, func(t *testing.T) {
			l := newWatched(manyReaders)
			admitted := make(chan string, 2)
			publish := func(name string, admit func() error) {
				l.g.Lock()
				if err := admit(); err != nil {
					t.Error(name, err)
					return
				}
				l.head++
				admitted <- name
				l.g.Unlock()
			}
			l.patience = time.Hour
			go publish("patient", func() error { return l.g.Admit(context.Background(), l, 2*time.Hour) })
			synctest.Wait()
			publish("overtakes", func() error { return l.g.TryAdmit(l) })
			require.Equal(t, "overtakes", <-admitted)
			require.Equal(t, "patient", <-admitted)
		})
	}
}

// All of that is the same whatever the size of a piece.
func TestAPublisherIsAdmittedWhateverTheSizeOfAPiece(t *testing.T) {
	defer func(piece int) { Piece = piece }(Piece)
	for Piece = 1; Piece < 12; Piece++ {
		for readers := range 10 {
			t.Run(fmt.Sprint(Piece, readers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newWatched(readers)
					l.g.Lock()
					start := time.Now()
					l.patience = 10 * time.Millisecond
					require.NoError(t, l.g.Admit(context.Background(), l, time.Second))
					require.Equal(t, readers > 0, time.Since(start) == 10*time.Millisecond)
					l.g.Unlock()
				})
			})
		}
	}
}

// A leader that was told to look, and has yet to run, is no reason to time out.
func TestNobodyTimesOutBehindALeaderThatHasYetToLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newWatched(0)
		c := new(Cursor)
		c.Start(0, 0, 2, true)
		l.g.Join(c, true)
		publish := func(timeout time.Duration) <-chan error {
			result := make(chan error, 1)
			go func() {
				l.g.Lock()
				err := l.g.Admit(context.Background(), l, timeout)
				if err == nil {
					l.head++
					l.g.Unlock()
				}
				result <- err
			}()
			synctest.Wait()
			return result
		}
		leads, waits := publish(time.Hour), publish(time.Second)
		woken := l.g.Deafening(0, func() {
			l.g.Lock()
			c.MoveTo(2) // and has room for both
			l.g.Progress(c, l.head, 0)
			l.g.Unlock()
			time.Sleep(2 * time.Second)
			require.Empty(t, waits)
		})
		require.True(t, woken)
		require.NoError(t, <-leads)
		require.NoError(t, <-waits)
	})
}

// However many readers publishers are patient with, when a patience is over a publisher looks only
// at those that have it.
func TestAtTheEndOfAPatienceAPublisherLooksAtTheReadersThatHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readers, pieces = 10 * 128, 10
		l := newWatched(readers)
		l.patience = time.Hour
		for range 3 {
			c := new(Cursor)
			require.True(t, l.g.SetPatience(c, time.Minute))
			c.Start(0, 0, 2, false)
			l.g.Join(c, true)
		}
		start, admitted := time.Now(), make(chan time.Duration, 1)
		go func() {
			l.g.Lock()
			defer l.g.Unlock()
			if err := l.g.Admit(context.Background(), l, 0); err != nil {
				t.Error(err)
			}
			admitted <- time.Since(start)
		}()
		synctest.Wait()
		l.g.Lock()
		looks := l.looks
		l.g.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		l.g.Lock()
		require.Equal(t, 3, l.g.count(listSpent))
		require.Less(t, l.looks-looks, pieces)
		l.g.Unlock()
		require.Equal(t, time.Hour, <-admitted)
	})
}
