// Package broadcastotel exports the counters of a broker, and of the servers that deliver its
// subscriptions, to OpenTelemetry.
//
//	registration, err := broadcastotel.Register(provider.Meter("chat"), broker, sockets, streams)
//
// The instruments are observable: each collection calls Stats and Engine of the broker, and Stats
// of each server, once. Nothing is counted a second time, and nothing happens between collections.
// The instruments broadcast.engine.… are those of a broker that has an engine; without one they are
// not made. No instrument has an attribute for a device or a chat: to find a reader that is behind,
// use package broadcastdebug or [broadcast.Broker.Laggards].
package broadcastotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/internal/stream"
)

type (
	stats   = broadcast.Stats
	engine  = broadcast.EngineStats
	servers = broadcastsse.Stats
)

// An instrument describes a figure.
type instrument struct {
	name, unit, description string
	counter                 bool // it only grows
}

// A figure is one of the broker, of its engine, or of the servers of a transport, with its
// instrument.
type figure[S any] struct {
	instrument
	value func(s *S) float64
}

var brokerFigures = []figure[stats]{
	{
		instrument{"broadcast.chats", "{chat}", "Chats in memory.", false},
		func(s *stats) float64 { return float64(s.Chats) },
	},
	{
		instrument{"broadcast.subscribers", "{subscription}", "Open subscriptions.", false},
		func(s *stats) float64 { return float64(s.Subscribers) },
	},
	{
		instrument{
			"broadcast.messages.pending", "{message}",
			"Messages that subscriptions can still take.", false,
		},
		func(s *stats) float64 { return float64(s.Pending) },
	},
	{
		instrument{
			"broadcast.publishers.waiting", "{call}",
			"Calls of Publish that are waiting for a reader.", false,
		},
		func(s *stats) float64 { return float64(s.PublishersWaiting) },
	},
	{
		instrument{"broadcast.messages.accepted", "{message}", "Messages accepted.", true},
		func(s *stats) float64 { return float64(s.Accepted) },
	},
	{
		instrument{
			"broadcast.messages.rejected", "{message}",
			"Calls of Publish and TryPublish that returned an error.", true,
		},
		func(s *stats) float64 { return float64(s.Rejected) },
	},
	{
		instrument{
			"broadcast.messages.delivered", "{message}",
			"Messages taken, counted once for each subscription.", true,
		},
		func(s *stats) float64 { return float64(s.Delivered) },
	},
	{
		instrument{
			"broadcast.messages.missed", "{message}",
			"Messages dropped by strategies or gone at a resume.", true,
		},
		func(s *stats) float64 { return float64(s.Missed) },
	},
	{
		instrument{
			"broadcast.messages.discarded", "{message}",
			"Messages discarded when their subscription ended.", true,
		},
		func(s *stats) float64 { return float64(s.Discarded) },
	},
	{
		instrument{
			"broadcast.subscriptions.replaced", "{subscription}",
			"Subscriptions ended by a takeover.", true,
		},
		func(s *stats) float64 { return float64(s.Replaced) },
	},
	{
		instrument{
			"broadcast.subscriptions.disconnected", "{subscription}",
			"Subscriptions ended by Disconnect.", true,
		},
		func(s *stats) float64 { return float64(s.Disconnected) },
	},
	{
		instrument{
			"broadcast.subscriptions.stalled", "{subscription}",
			"Subscriptions ended by the stall timeout.", true,
		},
		func(s *stats) float64 { return float64(s.Stalled) },
	},
	{
		instrument{"broadcast.chats.cleaned", "{chat}", "Chats forgotten by the cleaner.", true},
		func(s *stats) float64 { return float64(s.ChatsCleaned) },
	},
	{
		instrument{
			"broadcast.chats.resets", "{reset}",
			"How often the numbers of a chat began anew.", true,
		},
		func(s *stats) float64 { return float64(s.Resets) },
	},
	{
		instrument{
			"broadcast.publish.waits", "{call}",
			"Calls of Publish that have waited for a reader.", true,
		},
		func(s *stats) float64 { return float64(s.PublishersWaited) },
	},
	{
		instrument{
			"broadcast.publish.wait", "s",
			"How long calls of Publish have waited for readers.", true,
		},
		func(s *stats) float64 { return s.PublishWait.Seconds() },
	},
	{
		instrument{
			"broadcast.readers.out_of_patience", "{reader}",
			"How often a reader was full when its patience was over.", true,
		},
		func(s *stats) float64 { return float64(s.OutOfPatience) },
	},
}

var engineFigures = []figure[engine]{
	{
		instrument{
			"broadcast.engine.up", "{broker}",
			"1 if the engine can be reached, otherwise 0.", false,
		},
		func(s *engine) float64 { return one(s.Up) },
	},
	{
		instrument{"broadcast.engine.peers", "{broker}", "Other brokers that are alive.", false},
		func(s *engine) float64 { return float64(s.Peers) },
	},
	{
		instrument{
			"broadcast.engine.records.fetched", "{record}",
			"Records read because the engine did not hand them over.", true,
		},
		func(s *engine) float64 { return float64(s.Fetched) },
	},
	{
		instrument{
			"broadcast.engine.gaps", "{gap}",
			"How often a record showed that others had been missed.", true,
		},
		func(s *engine) float64 { return float64(s.Gaps) },
	},
	{
		instrument{
			"broadcast.engine.messages.lost", "{message}",
			"Messages that the engine no longer had.", true,
		},
		func(s *engine) float64 { return float64(s.Lost) },
	},
	{
		instrument{
			"broadcast.engine.conflicts", "{batch}",
			"Batches numbered anew because another broker was faster.", true,
		},
		func(s *engine) float64 { return float64(s.Conflicts) },
	},
	{
		instrument{
			"broadcast.engine.messages.uncertain", "{message}",
			"Messages refused though they may be delivered.", true,
		},
		func(s *engine) float64 { return float64(s.Uncertain) },
	},
	{
		instrument{
			"broadcast.engine.resets", "{reset}",
			"How often the engine had lost its memory of a chat.", true,
		},
		func(s *engine) float64 { return float64(s.Resets) },
	},
}

// one returns 1 for true, and 0 for false.
func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

var serverFigures = []figure[servers]{
	{
		instrument{"broadcast.connections.open", "{connection}", "Open connections.", false},
		func(s *servers) float64 { return float64(s.Connections) },
	},
	{
		instrument{
			"broadcast.connections.opened", "{connection}",
			"Connections that have begun to deliver.", true,
		},
		func(s *servers) float64 { return float64(s.Opened) },
	},
	{
		instrument{"broadcast.batches.sent", "{batch}", "Batches written to connections.", true},
		func(s *servers) float64 { return float64(s.Batches) },
	},
	{
		instrument{"broadcast.frames.sent", "{frame}", "Messages and events in batches.", true},
		func(s *servers) float64 { return float64(s.Frames) },
	},
	{
		instrument{"broadcast.bytes.sent", "By", "Bytes in batches, before TLS.", true},
		func(s *servers) float64 { return float64(s.Bytes) },
	},
	{
		instrument{
			"broadcast.writes.short", "{write}",
			"Batches that a connection did not take at once.", true,
		},
		func(s *servers) float64 { return float64(s.ShortWrites) },
	},
	{
		instrument{
			"broadcast.bytes.short", "By",
			"Bytes that a connection did not take at once.", true,
		},
		func(s *servers) float64 { return float64(s.ShortBytes) },
	},
}

var (
	closedConnections = instrument{
		"broadcast.connections.closed", "{connection}", "Connections that have ended.", true,
	}
	refusedRequests = instrument{
		"broadcast.requests.refused", "{request}", "Requests answered with an error.", true,
	}
)

// The attributes of the figures of servers.
const (
	transportKey = attribute.Key("broadcast.transport")
	reasonKey    = attribute.Key("broadcast.close.reason")
	statusKey    = attribute.Key("http.response.status_code")
)

// Register registers instruments with a meter, for the counters of a broker and of any servers of
// broadcastws and broadcastsse. They are observed until Unregister is called on the registration,
// even after the broker is closed. To tell several brokers apart, give each a meter with attributes
// of its own.
//
// The figures of servers are added up for each transport, with the attribute broadcast.transport.
// Connections that have ended also have the attribute broadcast.close.reason; requests that were
// refused, http.response.status_code.
func Register[T any](
	m metric.Meter, b *broadcast.Broker[T], servers ...interface{ Stats() broadcastsse.Stats },
) (metric.Registration, error) {
	r := registry{meter: m}
	observeBroker := register(&r, brokerFigures)
	observeEngine := func(metric.Observer, *engine, ...attribute.KeyValue) {}
	if !b.Engine().Since.IsZero() {
		observeEngine = register(&r, engineFigures)
	}
	observeServers := func(metric.Observer, []broadcastsse.Stats) {}
	if len(servers) > 0 {
		observeServers = r.registerServers()
	}
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s, e := b.Stats(), b.Engine()
		observeBroker(o, &s)
		observeEngine(o, &e)
		observeServers(o, stream.Totals(servers))
		return nil
	}, r.all...)
}

// A registry makes instruments.
type registry struct {
	meter metric.Meter
	all   []metric.Observable
	errs  []error
}

// add makes an instrument.
func (r *registry) add(i instrument) metric.Float64Observable {
	var made metric.Float64Observable
	var err error
	if i.counter {
		made, err = r.meter.Float64ObservableCounter(i.name,
			metric.WithUnit(i.unit), metric.WithDescription(i.description))
	} else {
		made, err = r.meter.Float64ObservableUpDownCounter(i.name,
			metric.WithUnit(i.unit), metric.WithDescription(i.description))
	}
	r.all, r.errs = append(r.all, made), append(r.errs, err)
	return made
}

// register makes the instruments of some figures, and returns a function that observes them.
func register[S any](
	r *registry, figures []figure[S],
) func(o metric.Observer, s *S, attributes ...attribute.KeyValue) {
	made := make([]metric.Float64Observable, len(figures))
	for i, f := range figures {
		made[i] = r.add(f.instrument)
	}
	return func(o metric.Observer, s *S, attributes ...attribute.KeyValue) {
		for i, f := range figures {
			o.ObserveFloat64(made[i], f.value(s), metric.WithAttributes(attributes...))
		}
	}
}

// registerServers is register for the figures of servers.
func (r *registry) registerServers() func(metric.Observer, []servers) {
	observe := register(r, serverFigures)
	closed, refused := r.add(closedConnections), r.add(refusedRequests)
	return func(o metric.Observer, totals []servers) {
		for _, s := range totals {
			transport := transportKey.String(s.Transport)
			observe(o, &s, transport)
			for reason, n := range s.Closed {
				o.ObserveFloat64(closed, float64(n),
					metric.WithAttributes(transport, reasonKey.String(reason)))
			}
			for status, n := range s.Refused {
				o.ObserveFloat64(refused, float64(n),
					metric.WithAttributes(transport, statusKey.Int(status)))
			}
		}
	}
}
