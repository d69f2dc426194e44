package broadcastotel_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastotel"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/internal/troubled"
)

// collect returns the value of each instrument, by name and attributes, and whether it only grows.
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
			if m.Unit == "" || m.Description == "" {
				t.Errorf("%+v", m)
			}
			for _, point := range sum.DataPoints {
				name := m.Name
				for _, a := range point.Attributes.ToSlice() {
					name += fmt.Sprintf(" %s=%s", a.Key, a.Value.String())
				}
				values[name], grows[m.Name] = point.Value, sum.IsMonotonic
			}
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
	if len(values) != 17 {
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

// Promise 58.
func TestACollectionHasTheFiguresOfAnEngineIfThereIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, cut := troubled.Broker(t)
		reader := sdk.NewManualReader()
		meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("test")
		if _, err := broadcastotel.Register(meter, b); err != nil {
			t.Fatal(err)
		}
		values, grows := collect(t, reader)
		for name, want := range map[string]float64{
			"broadcast.engine.up": 1, "broadcast.engine.peers": troubled.Peers,
			"broadcast.engine.records.fetched": troubled.Fetched, "broadcast.engine.gaps": troubled.Gaps,
			"broadcast.engine.messages.lost": troubled.Lost, "broadcast.engine.conflicts": troubled.Conflicts,
			"broadcast.engine.messages.uncertain": troubled.Uncertain, "broadcast.engine.resets": troubled.Resets,
			"broadcast.chats.resets": troubled.AllResets,
		} {
			if got, ok := values[name]; !ok || got != want {
				t.Errorf("%s is %v instead of %v", name, got, want)
			}
			if is := name == "broadcast.engine.up" || name == "broadcast.engine.peers"; is == grows[name] {
				t.Errorf("%s grows: %v", name, grows[name])
			}
		}
		if len(values) != 17+8 {
			t.Error(len(values), "instruments")
		}
		cut()
		values, _ = collect(t, reader)
		if up, ok := values["broadcast.engine.up"]; !ok || up != 0 {
			t.Error("the engine is up:", up)
		}
	})
}

type server string

func (s server) Stats() broadcastsse.Stats {
	return broadcastsse.Stats{
		Transport: string(s), Connections: 2, Opened: 9, Closed: map[string]uint64{"left": 4, "slow": 3},
		Refused: map[int]uint64{503: 6}, Batches: 10, Frames: 25, Bytes: 1000, ShortWrites: 1, ShortBytes: 500,
	}
}

// Promise 59.
func TestACollectionHasTheFiguresOfServers(t *testing.T) {
	b, err := broadcast.New[int]()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	reader := sdk.NewManualReader()
	meter := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("test")
	if _, err := broadcastotel.Register(meter, b, server("websocket"), server("sse"), server("websocket")); err != nil {
		t.Fatal(err)
	}
	values, grows := collect(t, reader)
	for name, want := range map[string]float64{
		"broadcast.connections.open broadcast.transport=websocket":                               4,
		"broadcast.connections.open broadcast.transport=sse":                                     2,
		"broadcast.connections.opened broadcast.transport=sse":                                   9,
		"broadcast.connections.closed broadcast.close.reason=slow broadcast.transport=websocket": 6,
		"broadcast.connections.closed broadcast.close.reason=left broadcast.transport=sse":       4,
		"broadcast.requests.refused broadcast.transport=sse http.response.status_code=503":       6,
		"broadcast.batches.sent broadcast.transport=sse":                                         10,
		"broadcast.frames.sent broadcast.transport=sse":                                          25,
		"broadcast.bytes.sent broadcast.transport=sse":                                           1000,
		"broadcast.writes.short broadcast.transport=sse":                                         1,
		"broadcast.bytes.short broadcast.transport=sse":                                          500,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v instead of %v", name, got, want)
		}
	}
	if len(grows) != 17+9 {
		t.Error(len(grows), "instruments")
	}
	if grows["broadcast.connections.open"] || !grows["broadcast.connections.closed"] {
		t.Error(grows)
	}
}
