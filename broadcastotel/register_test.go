package broadcastotel_test

import (
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastotel"
)

// collect returns the value of each instrument, and whether it only grows.
func collect(t *testing.T, reader sdk.Reader) (values map[string]float64, grows map[string]bool) {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	values, grows = make(map[string]float64), make(map[string]bool)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum := m.Data.(metricdata.Sum[float64])
			if len(sum.DataPoints) != 1 || sum.DataPoints[0].Attributes.Len() > 0 || m.Unit == "" || m.Description == "" {
				t.Errorf("%+v", m)
			}
			values[m.Name], grows[m.Name] = sum.DataPoints[0].Value, sum.IsMonotonic
		}
	}
	return values, grows
}

// Promise 58.
func TestACollectionHasTheFiguresOfStats(t *testing.T) {
	b, err := broadcast.New[int](broadcast.WithBuffer(4))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Subscribe("7", "stuck"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := b.Publish(t.Context(), "7", i); err != nil {
			t.Fatal(err)
		}
	}
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("test")
	registration, err := broadcastotel.Register(meter, b)
	if err != nil {
		t.Fatal(err)
	}
	values, grows := collect(t, reader)
	for name, want := range map[string]float64{
		"broadcast.subscribers": 1, "broadcast.chats": 1, "broadcast.messages.accepted": 10,
		"broadcast.messages.missed": 6, "broadcast.messages.pending": 4, "broadcast.messages.delivered": 0,
		"broadcast.readers.out_of_patience": 1, "broadcast.publish.waits": 1,
		"broadcast.publish.wait": b.Stats().PublishWait.Seconds(),
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v instead of %v", name, got, want)
		}
	}
	if len(values) != 16 {
		t.Error(len(values), "instruments")
	}
	if grows["broadcast.messages.pending"] || !grows["broadcast.messages.missed"] {
		t.Error(grows)
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if values, _ := collect(t, reader); len(values) > 0 {
		t.Error(values)
	}
}
