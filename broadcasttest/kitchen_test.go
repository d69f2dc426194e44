package broadcasttest_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

// cook is a service: it turns orders into meals until the broker ends.
func cook(b *broadcast.Broker[string]) error {
	orders, err := b.Subscribe("orders", "kitchen")
	if err != nil {
		return err
	}
	for order := range orders.Messages(context.Background()) {
		if err := b.Publish(context.Background(), "meals", "hot "+order); err != nil {
			return err
		}
	}
	return orders.Err()
}

// The following two are in the package documentation.

func TestTheKitchenCooksWhatIsOrdered(t *testing.T) {
	b := broadcasttest.New[string](t) // closed when the test ends, and searched for leaks
	guest := broadcasttest.Subscribe(t, b, "meals", "guest")
	go cook(b) // the service
	broadcasttest.AwaitDevices(t, b, "orders", 1, time.Minute)
	if err := b.Publish(t.Context(), "orders", "soup"); err != nil {
		t.Fatal(err)
	}
	meals := broadcasttest.TakeMessages(t, guest, 1, time.Minute)
	if want := []string{"hot soup"}; !slices.Equal(meals, want) {
		t.Errorf("the guest got %q, not %q", meals, want)
	}
}

func TestTheKitchenCooksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[string](t)
		guest := broadcasttest.Subscribe(t, b, "meals", "guest")
		go cook(b)
		synctest.Wait() // the kitchen has subscribed
		if err := b.Publish(t.Context(), "orders", "soup"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the soup is cooked
		broadcasttest.TakeMessages(t, guest, 1, 0)
		broadcasttest.Silence(t, guest, 24*time.Hour)
	})
}

// What the package documentation shows are tests of this file, word for word.
func TestTheTestsOfTheDocumentationPass(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	text := strings.ReplaceAll(string(doc), "//\t", "")
	tests, err := os.ReadFile("kitchen_test.go")
	require.NoError(t, err)
	for _, name := range []string{"TestTheKitchenCooksWhatIsOrdered", "TestTheKitchenCooksOnce"} {
		_, test, _ := strings.Cut(string(tests), "func "+name+"(")
		test, _, _ = strings.Cut(test, "\n}\n")
		require.Contains(t, text, "func "+name+"("+test+"\n}\n")
	}
}
