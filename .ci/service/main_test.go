package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryOrderIsServed(t *testing.T) {
	broadcasttest.CheckLeaks(t)
	served, err := serve(t.Context(), "soup", "bread", "tea")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"hot soup", "hot bread", "hot tea"}; !slices.Equal(served, want) {
		t.Fatalf("served %q, want %q", served, want)
	}
}

func TestTheKitchenCooksInTheOrderOfTheOrders(t *testing.T) {
	broker := broadcasttest.New[string](t)
	guest := broadcasttest.Subscribe(t, broker, "meals", "guest")
	startKitchen(t, broker)
	order(t, broker, "soup", "bread")
	broadcasttest.Equal(t, broadcasttest.Take(t, guest, 2, time.Minute), []broadcast.Delivery[string]{
		{Chat: "meals", Seq: 1, Message: "hot soup"},
		{Chat: "meals", Seq: 2, Message: "hot bread"},
	})
}

func TestTheKitchenCooksOnlyWhatIsOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := broadcasttest.New[string](t)
		guest := broadcasttest.Subscribe(t, broker, "meals", "guest")
		startKitchen(t, broker)
		broadcasttest.Silence(t, guest, 24*time.Hour)
		order(t, broker, "soup")
		synctest.Wait()
		broadcasttest.TakeMessages(t, guest, 1, 0)
		broadcasttest.Silence(t, guest, 24*time.Hour)
	})
}

func TestAGuestWhoFallsAsleepHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := broadcasttest.New[string](t, broadcast.WithBuffer(2))
		asleep := broadcasttest.Stall(t, broker, "meals", "asleep", 1)
		guest := broadcasttest.Subscribe(t, broker, "meals", "guest", broadcast.WithBuffer(4))
		ledger := broadcasttest.NewLedger(t, guest)
		startKitchen(t, broker)
		for range 8 {
			order(t, broker, "soup")
			ledger.Record(broadcasttest.Take(t, guest, 1, time.Second)...)
		}
		if books := ledger.Check(); books.Missed > 0 {
			t.Errorf("missed %d meals", books.Missed)
		}
		if books := broadcasttest.CheckBooks(t, asleep); books.Delivered != 1 || books.Missed != 5 || books.Pending != 2 {
			t.Errorf("asleep, but with the books of somebody else: %+v", books)
		}
	})
}

// startKitchen lets the kitchen cook until the broker ends. When it returns, the kitchen takes
// orders.
func startKitchen(t *testing.T, broker *broadcast.Broker[string]) {
	t.Helper()
	go func() {
		orders, err := broker.Subscribe("orders", "kitchen")
		if err != nil {
			t.Errorf("no kitchen: %v", err)
			return
		}
		if err := cook(context.Background(), broker, orders); err != nil && !errors.Is(err, broadcast.ErrClosed) {
			t.Errorf("cooking ended: %v", err)
		}
	}()
	broadcasttest.AwaitDevices(t, broker, "orders", 1, time.Minute)
}

func order(t *testing.T, broker *broadcast.Broker[string], dishes ...string) {
	t.Helper()
	for _, dish := range dishes {
		if err := broker.Publish(t.Context(), "orders", dish); err != nil {
			t.Fatal(err)
		}
	}
}
