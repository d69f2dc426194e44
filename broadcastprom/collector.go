// Package broadcastprom exports the counters of a broker, and of the servers that deliver its
// subscriptions, to Prometheus.
//
//	registry.MustRegister(broadcastprom.NewCollector(broker,
//		broadcastprom.WithServers(sockets, streams)))
//
// A scrape calls Stats and Engine of the broker, its ChatStats for the chats that [WithChats]
// names, and the Stats of the servers. Nothing is counted a second time, and nothing happens
// between scrapes. The metrics broadcast_engine_… are those of a broker that has an engine; without
// one they are not exported. No metric has a label for a device: to find a reader that is behind,
// use package broadcastdebug or [broadcast.Broker.Laggards]. To tell several brokers apart,
// register each collector with prometheus.WrapRegistererWith.
package broadcastprom

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// An Option configures a collector.
type Option func(*config)

type config struct {
	chats   func() []string
	servers []interface{ Stats() broadcastsse.Stats }
}

// WithChats also exports the counters of the chats that names returns, with the label chat. The
// function is called for each scrape, possibly by several scrapes at once. Each name costs a few
// series: return a short, known list, and never names that clients make up. Names without a chat
// and repeated names are skipped.
func WithChats(names func() []string) Option {
	return func(c *config) { c.chats = names }
}

// WithServers also exports the counters of servers of broadcastws and broadcastsse, added up for
// each transport, with the label transport: "websocket" or "sse".
func WithServers(servers ...interface{ Stats() broadcastsse.Stats }) Option {
	return func(c *config) { c.servers = append(c.servers, servers...) }
}

// source is a broker of any type.
type source interface {
	Stats() broadcast.Stats
	Engine() broadcast.EngineStats
	ChatStats(chat string) (broadcast.ChatStats, bool)
}

// NewCollector returns a collector for a broker. It still works after the broker is closed: the
// counters stay.
func NewCollector[T any](b *broadcast.Broker[T], opts ...Option) prometheus.Collector {
	c := &collector{source: b}
	for _, o := range opts {
		o(&c.config)
	}
	return c
}

type collector struct {
	config
	source source
}

// A metric is a figure of a broker, of its engine, of a chat, or of the servers of a transport.
type metric[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *S) float64
}

func counter[S any](name, help string, value func(s *S) float64, labels ...string) metric[S] {
	return metric[S]{describe(name, help, labels...), prometheus.CounterValue, value}
}

func gauge[S any](name, help string, value func(s *S) float64, labels ...string) metric[S] {
	return metric[S]{describe(name, help, labels...), prometheus.GaugeValue, value}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("broadcast_"+name, help, labels, nil)
}

type (
	stats   = broadcast.Stats
	engine  = broadcast.EngineStats
	chat    = broadcast.ChatStats
	servers = broadcastsse.Stats
)

var brokerMetrics = []metric[stats]{
	gauge("chats", "Chats in memory.", func(s *stats) float64 { return float64(s.Chats) }),
	gauge("subscribers", "Open subscriptions.",
		func(s *stats) float64 { return float64(s.Subscribers) }),
	gauge("pending_messages", "Messages that subscriptions can still take.",
		func(s *stats) float64 { return float64(s.Pending) }),
	gauge("publishers_waiting", "Calls of Publish that are waiting for a reader.",
		func(s *stats) float64 { return float64(s.PublishersWaiting) }),
	counter("accepted_messages_total", "Messages accepted.",
		func(s *stats) float64 { return float64(s.Accepted) }),
	counter("rejected_messages_total", "Calls of Publish and TryPublish that returned an error.",
		func(s *stats) float64 { return float64(s.Rejected) }),
	counter("delivered_messages_total", "Messages taken, counted once for each subscription.",
		func(s *stats) float64 { return float64(s.Delivered) }),
	counter("missed_messages_total", "Messages dropped by strategies or gone at a resume.",
		func(s *stats) float64 { return float64(s.Missed) }),
	counter("discarded_messages_total", "Messages discarded when their subscription ended.",
		func(s *stats) float64 { return float64(s.Discarded) }),
	counter("replaced_subscriptions_total", "Subscriptions ended by a takeover.",
		func(s *stats) float64 { return float64(s.Replaced) }),
	counter("disconnected_subscriptions_total", "Subscriptions ended by the strategy Disconnect.",
		func(s *stats) float64 { return float64(s.Disconnected) }),
	counter("stalled_subscriptions_total", "Subscriptions ended by the stall timeout.",
		func(s *stats) float64 { return float64(s.Stalled) }),
	counter("cleaned_chats_total", "Chats forgotten by the cleaner.",
		func(s *stats) float64 { return float64(s.ChatsCleaned) }),
	counter("resets_total", "How often the numbers of a chat began anew.",
		func(s *stats) float64 { return float64(s.Resets) }),
	counter("publish_waits_total", "Calls of Publish that have waited for a reader.",
		func(s *stats) float64 { return float64(s.PublishersWaited) }),
	counter("publish_wait_seconds_total", "How long calls of Publish have waited for readers.",
		func(s *stats) float64 { return s.PublishWait.Seconds() }),
	counter("out_of_patience_total", "How often a reader was still full when its patience was over.",
		func(s *stats) float64 { return float64(s.OutOfPatience) }),
}

var engineMetrics = []metric[engine]{
	gauge("engine_up", "1 if the engine can be reached, otherwise 0.",
		func(s *engine) float64 { return one(s.Up) }),
	gauge("engine_peers", "Other brokers that are alive.",
		func(s *engine) float64 { return float64(s.Peers) }),
	counter("engine_fetched_records_total", "Records read because the engine did not hand them over.",
		func(s *engine) float64 { return float64(s.Fetched) }),
	counter("engine_gaps_total", "How often a record showed that others had been missed.",
		func(s *engine) float64 { return float64(s.Gaps) }),
	counter("engine_lost_messages_total", "Messages that the engine no longer had.",
		func(s *engine) float64 { return float64(s.Lost) }),
	counter("engine_conflicts_total", "Batches numbered anew because another broker was faster.",
		func(s *engine) float64 { return float64(s.Conflicts) }),
	counter("engine_uncertain_messages_total", "Messages refused though they may be delivered.",
		func(s *engine) float64 { return float64(s.Uncertain) }),
	counter("engine_resets_total", "How often the engine had lost its memory of a chat.",
		func(s *engine) float64 { return float64(s.Resets) }),
}

// one returns 1 for true, and 0 for false.
func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

var chatMetrics = []metric[chat]{
	gauge("chat_subscribers", "Open subscriptions of a chat.",
		func(s *chat) float64 { return float64(s.Subscribers) }, "chat"),
	gauge("chat_pending_messages", "Messages that subscriptions of a chat can still take.",
		func(s *chat) float64 { return float64(s.Pending) }, "chat"),
	gauge("chat_publishers_waiting", "Calls of Publish that are waiting for a reader of a chat.",
		func(s *chat) float64 { return float64(s.PublishersWaiting) }, "chat"),
	counter("chat_accepted_messages_total", "Messages accepted in a chat.",
		func(s *chat) float64 { return float64(s.Accepted) }, "chat"),
	counter("chat_delivered_messages_total", "Messages of a chat taken.",
		func(s *chat) float64 { return float64(s.Delivered) }, "chat"),
	counter("chat_missed_messages_total", "Messages of a chat that subscriptions have lost.",
		func(s *chat) float64 { return float64(s.Missed) }, "chat"),
	counter("chat_resets_total", "How often the numbers of a chat began anew.",
		func(s *chat) float64 { return float64(s.Resets) }, "chat"),
	counter("chat_publish_wait_seconds_total", "How long Publish has waited for readers of a chat.",
		func(s *chat) float64 { return s.PublishWait.Seconds() }, "chat"),
	counter("chat_out_of_patience_total", "How often a reader of a chat ran out of patience.",
		func(s *chat) float64 { return float64(s.OutOfPatience) }, "chat"),
}

var serverMetrics = []metric[servers]{
	gauge("socket_connections", "Open connections.",
		func(s *servers) float64 { return float64(s.Connections) }, "transport"),
	counter("socket_opened_connections_total", "Connections that have begun to deliver.",
		func(s *servers) float64 { return float64(s.Opened) }, "transport"),
	counter("socket_sent_batches_total", "Batches written to connections.",
		func(s *servers) float64 { return float64(s.Batches) }, "transport"),
	counter("socket_sent_frames_total", "Messages and events in batches.",
		func(s *servers) float64 { return float64(s.Frames) }, "transport"),
	counter("socket_sent_bytes_total", "Bytes in batches, before TLS.",
		func(s *servers) float64 { return float64(s.Bytes) }, "transport"),
	counter("socket_short_writes_total", "Batches that a connection did not take at once.",
		func(s *servers) float64 { return float64(s.ShortWrites) }, "transport"),
	counter("socket_short_write_bytes_total", "Bytes that a connection did not take at once.",
		func(s *servers) float64 { return float64(s.ShortBytes) }, "transport"),
}

var (
	closedDesc = describe("socket_closed_connections_total",
		"Connections that have ended, by reason.", "transport", "reason")
	refusedDesc = describe("socket_refused_requests_total",
		"Requests answered with an error, by HTTP status.", "transport", "code")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range brokerMetrics {
		descs <- m.desc
	}
	if _, ok := c.engine(); ok {
		for _, m := range engineMetrics {
			descs <- m.desc
		}
	}
	if c.chats != nil {
		for _, m := range chatMetrics {
			descs <- m.desc
		}
	}
	if c.servers != nil {
		for _, m := range serverMetrics {
			descs <- m.desc
		}
		descs <- closedDesc
		descs <- refusedDesc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	s := c.source.Stats()
	collect(metrics, brokerMetrics, &s)
	if s, ok := c.engine(); ok {
		collect(metrics, engineMetrics, &s)
	}
	if c.chats != nil {
		c.collectChats(metrics)
	}
	for _, s := range stream.Totals(c.servers) {
		collectServers(metrics, &s)
	}
}

// engine returns the counters of the broker's engine. ok is false if it has none.
func (c *collector) engine() (s engine, ok bool) {
	s = c.source.Engine()
	return s, !s.Since.IsZero()
}

func collect[S any](
	metrics chan<- prometheus.Metric, all []metric[S], s *S, labels ...string,
) {
	for _, m := range all {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), labels...)
	}
}

func (c *collector) collectChats(metrics chan<- prometheus.Metric) {
	seen := make(map[string]bool)
	for _, name := range c.chats() {
		s, ok := c.source.ChatStats(name)
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		collect(metrics, chatMetrics, &s, name)
	}
}

func collectServers(metrics chan<- prometheus.Metric, s *servers) {
	collect(metrics, serverMetrics, s, s.Transport)
	count := func(desc *prometheus.Desc, n uint64, label string) {
		metrics <- prometheus.MustNewConstMetric(
			desc, prometheus.CounterValue, float64(n), s.Transport, label)
	}
	for reason, n := range s.Closed {
		count(closedDesc, n, reason)
	}
	for status, n := range s.Refused {
		count(refusedDesc, n, strconv.Itoa(status))
	}
}
