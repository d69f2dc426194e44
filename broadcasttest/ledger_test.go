package broadcasttest_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

func TestTheBooksOfASubscriptionBalance(t *testing.T) {
	b, s := room(t, broadcast.WithBuffer(2))
	publish(t, b, "room", "one", "two", "three")
	broadcasttest.Take(t, s, 1, 0)
	require.Equal(t, broadcast.SubscriberStats{Delivered: 1, Missed: 1, Pending: 1, Head: 3}, broadcasttest.CheckBooks(t, s))
	require.NoError(t, s.Close())
	require.Equal(t, broadcast.SubscriberStats{Delivered: 1, Missed: 1, Discarded: 1, Head: 3}, broadcasttest.CheckBooks(t, s))
}

func TestTheTotalsOfABrokerAreSums(t *testing.T) {
	b := broadcasttest.New[string](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
	old := broadcasttest.Subscribe(t, b, "room", "ann")
	slow := broadcasttest.Subscribe(t, b, "room", "bob", broadcast.WithSampling(broadcast.Disconnect))
	publish(t, b, "room", "one", "two", "three")
	broadcasttest.Take(t, slow, 1, 0)
	s := broadcasttest.Subscribe(t, b, "room", "ann")
	publish(t, b, "room", "four")
	subs := []*broadcast.Subscriber[string]{old, slow, s}
	want := broadcast.Stats{
		Chats: 1, Subscribers: 1, Accepted: 4, Delivered: 1, Missed: 1, Pending: 2, Discarded: 2, Replaced: 1, Disconnected: 1,
	}
	require.Equal(t, want, broadcasttest.CheckTotals(t, b, 4, subs...))
	requireFailure(t, func(t testing.TB) { broadcasttest.CheckTotals(t, b, 5, subs...) },
		`4 calls of Publish and TryPublish were accepted or rejected, of 5`)
	requireFailure(t, func(t testing.TB) { broadcasttest.CheckTotals(t, b, 4, old, s) },
		`not the sums over its subscriptions`, `Missed:1`, `Delivered:1`)
	require.ErrorIs(t, b.Publish(t.Context(), "", "five"), broadcast.ErrInvalid)
	require.EqualValues(t, 1, broadcasttest.CheckTotals(t, b, 5, subs...).Rejected)
}

// Whatever is read and however it is lost, a ledger that is shown everything agrees.
func TestALedgerAgreesWithWhatIsTaken(t *testing.T) {
	for _, sampling := range []broadcast.Sampling{
		broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom, broadcast.Disconnect, broadcast.Block,
	} {
		t.Run(sampling.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := broadcasttest.New[int](t, broadcast.WithHistory(5, 0), broadcast.WithPublishTimeout(time.Second))
				publish(t, b, "room", -3, -2, -1, 0)
				s := broadcasttest.Subscribe(t, b, "room", "ann",
					broadcast.WithSampling(sampling), broadcast.WithBuffer(3), broadcast.WithPresence(), broadcast.Replay(2))
				ledger := broadcasttest.NewLedger(t, s)
				var reading sync.WaitGroup
				reading.Go(func() {
					for d := range s.All(t.Context()) {
						ledger.Record(d)
						time.Sleep(time.Duration(d.Seq%5) * 10 * time.Millisecond)
					}
				})
				for i := range 100 {
					bob := broadcasttest.Subscribe(t, b, "room", "bob")
					_ = b.Publish(t.Context(), "room", i)
					require.NoError(t, bob.Close())
					time.Sleep(time.Duration(i%7) * 5 * time.Millisecond)
				}
				require.NoError(t, b.Shutdown(t.Context()))
				reading.Wait()
				books := ledger.Check()
				require.EqualValues(t, 2, books.Joined)
				require.Positive(t, books.Delivered)
				require.Equal(t, books.Delivered, messages(ledger.Deliveries()))
			})
		})
	}
}

func messages[T any](deliveries []broadcast.Delivery[T]) (n uint64) {
	for _, d := range deliveries {
		if d.Kind == broadcast.Published {
			n++
		}
	}
	return n
}

func TestALedgerSaysWhatIsWrongWithADelivery(t *testing.T) {
	type deliveries = []broadcast.Delivery[string]
	message := func(seq, missed uint64) broadcast.Delivery[string] {
		return broadcast.Delivery[string]{Chat: "room", Seq: seq, Missed: missed}
	}
	presence := func(kind broadcast.Kind, seq uint64) broadcast.Delivery[string] {
		return broadcast.Delivery[string]{Chat: "room", Seq: seq, Kind: kind}
	}
	for _, test := range []struct {
		name  string
		shown deliveries
		fault string // none if empty
	}{
		{"all", deliveries{message(1, 0), message(2, 0), message(3, 0)}, ``},
		{"told losses", deliveries{message(3, 2), message(4, 0), message(6, 1)}, ``},
		{"presence in between", deliveries{
			presence(broadcast.Joined, 0), message(1, 0), presence(broadcast.Left, 1), presence(broadcast.Resync, 1), message(2, 0),
		}, ``},
		{"presence after lost messages", deliveries{message(1, 0), presence(broadcast.Left, 3), message(5, 3)}, ``},
		{"hole at the beginning", deliveries{message(2, 0)}, `#2 came after #0 and says that 0 were missed before it, not 1;`},
		{"hole", deliveries{message(1, 0), message(4, 1)}, `#4 came after #1 and says that 1 were missed before it, not 2;`},
		{"told too much", deliveries{message(1, 0), message(2, 1)}, `#2 came after #1 and says that 1 were missed before it, not 0;`},
		{"twice", deliveries{message(1, 0), message(1, 0), message(2, 0)}, `#1 came after #1;`},
		{"late", deliveries{message(1, 0), message(3, 1), message(2, 0), message(3, 0)}, `#2 came after #3;`},
		{"presence late", deliveries{message(1, 0), message(2, 0), presence(broadcast.Left, 1), message(3, 0)}, `#1 came after #2;`},
		{"message after presence that it comes before", deliveries{presence(broadcast.Left, 1), message(1, 0)}, `#1 came after #1;`},
		{"other chat", deliveries{{Chat: "hall", Seq: 1}, message(2, 0)}, `#1 is of the chat "hall";`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, s := room(t)
			show := func(t testing.TB) {
				ledger := broadcasttest.NewLedger(t, s)
				ledger.Record(test.shown...)
				broadcasttest.Equal(t, ledger.Deliveries(), test.shown)
			}
			if test.fault == "" {
				requirePass(t, show)
				return
			}
			requireFailure(t, show, test.fault, `"ann" in "room" has taken:`+"\n\t")
		})
	}
}

func TestALedgerIsNotComplete(t *testing.T) {
	b, s := room(t)
	publish(t, b, "room", "one", "two")
	requireFailure(t, func(t testing.TB) {
		ledger := broadcasttest.NewLedger(t, s)
		broadcasttest.Take(t, s, 1, 0)
		ledger.Check()
	}, `messages recorded: 0, taken: 1`, `is open: joined after #0, head #2, delivered 1, missed 0, pending 1`)
}

func TestALedgerTellsOfMoreLossesThanThereWere(t *testing.T) {
	b, s := room(t)
	publish(t, b, "room", "one", "two")
	requireFailure(t, func(t testing.TB) {
		ledger := broadcasttest.NewLedger(t, s)
		broadcasttest.Take(t, s, 1, 0)
		ledger.Record(broadcast.Delivery[string]{Chat: "room", Seq: 2, Missed: 1})
		ledger.Check()
	}, `messages recorded as missed: 1, missed: 0`, `missed 0, pending 1`)
}

func TestALedgerBeginsBeforeAnythingIsTaken(t *testing.T) {
	b, s := room(t)
	publish(t, b, "room", "one")
	broadcasttest.Take(t, s, 1, 0)
	requireFailure(t, func(t testing.TB) { broadcasttest.NewLedger(t, s) }, `a ledger begins before anything is taken`, `delivered 1`)
}
