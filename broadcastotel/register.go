// Package broadcastotel exports the counters of a broker to OpenTelemetry.
//
//	registration, err := broadcastotel.Register(meterProvider.Meter("chat"), broker)
//
// The instruments are observable: each collection calls [broadcast.Broker.Stats] once. Nothing is
// counted a second time, and nothing happens between collections. No instrument has an attribute
// for a device or a chat: to find a reader that is behind, use package broadcastdebug or
// [broadcast.Broker.Laggards].
package broadcastotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/fbd86cad/broadcast"
)

type stats = broadcast.Stats

// A figure is one of Stats, with its instrument.
type figure struct {
	name, unit, description string
	counter                 bool // it only grows
	value                   func(s *stats) float64
}

var figures = []figure{
	{
		"broadcast.chats", "{chat}", "Chats in memory.", false,
		func(s *broadcast.Stats) float64 { return float64(s.Chats) },
	},
	{
		"broadcast.subscribers", "{subscription}", "Open subscriptions.", false,
		func(s *broadcast.Stats) float64 { return float64(s.Subscribers) },
	},
	{
		"broadcast.messages.pending", "{message}",
		"Messages that subscriptions can still take.", false,
		func(s *broadcast.Stats) float64 { return float64(s.Pending) },
	},
	{
		"broadcast.publishers.waiting", "{call}",
		"Calls of Publish that are waiting for a reader.", false,
		func(s *broadcast.Stats) float64 { return float64(s.PublishersWaiting) },
	},
	{
		"broadcast.messages.accepted", "{message}", "Messages accepted.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Accepted) },
	},
	{
		"broadcast.messages.rejected", "{message}",
		"Calls of Publish and TryPublish that returned an error.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Rejected) },
	},
	{
		"broadcast.messages.delivered", "{message}",
		"Messages taken, counted once for each subscription.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Delivered) },
	},
	{
		"broadcast.messages.missed", "{message}",
		"Messages dropped by strategies or gone at a resume.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Missed) },
	},
	{
		"broadcast.messages.discarded", "{message}",
		"Messages discarded when their subscription ended.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Discarded) },
	},
	{
		"broadcast.subscriptions.replaced", "{subscription}",
		"Subscriptions ended by a takeover.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Replaced) },
	},
	{
		"broadcast.subscriptions.disconnected", "{subscription}",
		"Subscriptions ended by Disconnect.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Disconnected) },
	},
	{
		"broadcast.subscriptions.stalled", "{subscription}",
		"Subscriptions ended by the stall timeout.", true,
		func(s *broadcast.Stats) float64 { return float64(s.Stalled) },
	},
	{
		"broadcast.chats.cleaned", "{chat}", "Chats forgotten by the cleaner.", true,
		func(s *broadcast.Stats) float64 { return float64(s.ChatsCleaned) },
	},
	{
		"broadcast.publish.waits", "{call}",
		"Calls of Publish that have waited for a reader.", true,
		func(s *broadcast.Stats) float64 { return float64(s.PublishersWaited) },
	},
	{
		"broadcast.publish.wait", "s", "How long calls of Publish have waited for readers.", true,
		func(s *broadcast.Stats) float64 { return s.PublishWait.Seconds() },
	},
	{
		"broadcast.readers.out_of_patience", "{reader}",
		"How often a reader was full when its patience was over.", true,
		func(s *broadcast.Stats) float64 { return float64(s.OutOfPatience) },
	},
}

// Register registers instruments for the counters of a broker with a meter. They are observed until
// Unregister is called on the registration, even after the broker is closed. To tell several
// brokers apart, give each a meter with attributes of its own.
func Register[T any](m metric.Meter, b *broadcast.Broker[T]) (metric.Registration, error) {
	var instruments []metric.Observable
	var errs []error
	observe := make([]func(o metric.Observer, s *broadcast.Stats), len(figures))
	for i, f := range figures {
		var instrument metric.Float64Observable
		var err error
		if f.counter {
			instrument, err = m.Float64ObservableCounter(f.name,
				metric.WithUnit(f.unit), metric.WithDescription(f.description))
		} else {
			instrument, err = m.Float64ObservableUpDownCounter(f.name,
				metric.WithUnit(f.unit), metric.WithDescription(f.description))
		}
		instruments, errs = append(instruments, instrument), append(errs, err)
		observe[i] = func(o metric.Observer, s *broadcast.Stats) {
			o.ObserveFloat64(instrument, f.value(s))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := b.Stats()
		for _, f := range observe {
			f(o, &s)
		}
		return nil
	}, instruments...)
}
