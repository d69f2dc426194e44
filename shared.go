package broadcast

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/internal/background"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/parking"
	"github.com/fbd86cad/broadcast/internal/until"
)

// shared is what the chats of a broker have in common: its configuration, its background work, and
// its totals. It does not know the chats by name.
type shared[T any] struct {
	config      brokerConfig
	began       time.Time
	distributor parking.Distributor
	agenda      *background.Agenda[*chat[T]] // chats that the cleaner is to visit
	until       until.Registry[*Subscriber[T]]
	background  background.Tracker // what Close waits for: Chan, and ends up to signalEnd
	node        *cluster.Node      // nil without an engine
	codec       codec[T]           // for messages in the engine

	// state only grows. It is stored under the registry's lock, and loaded by every call before
	// anything else.
	state atomic.Int32

	// open is the number of open subscriptions, plus the constant draining once Shutdown has told
	// all chats to drain. Whoever begins or ends a subscription changes it under the chat's lock,
	// and Shutdown adds draining once. Whoever brings it to exactly draining closes drained.
	open    atomic.Int64
	drained chan struct{}

	totals brokerTotals
}

// The states of a broker.
const (
	stateOpen     = iota
	stateRefusing // Shutdown has begun
	stateClosed
)

// draining is what Shutdown adds to shared.open: more than there can be subscriptions.
const draining = 1 << 40

// count adds n to open: 1 for a new subscription, -1 for one that has ended, and draining when all
// chats are draining. When no subscription is left, it closes drained, unless the broker was closed
// meanwhile.
func (sh *shared[T]) count(n int64) {
	if sh.open.Add(n) == draining && sh.state.Load() != stateClosed {
		close(sh.drained)
	}
}

// aside runs user code that nobody waits for, because it may hang.
func (sh *shared[T]) aside(f func()) { go f() }

// logEvent logs an event. It recovers from a handler that panics.
func (sh *shared[T]) logEvent(level slog.Level, msg, chat, device string, attrs ...slog.Attr) {
	l := sh.config.logger
	if l == nil {
		return
	}
	defer func() { _ = recover() }()
	if !l.Enabled(context.Background(), level) {
		return
	}
	if chat != "" {
		attrs = append(attrs, slog.String("chat", chat))
	}
	if device != "" {
		attrs = append(attrs, slog.String("device", device))
	}
	l.LogAttrs(context.Background(), level, "broadcast: "+msg, attrs...)
}

// logEnded logs the end of subscriptions.
func (sh *shared[T]) logEnded(ended []*Subscriber[T]) {
	for _, s := range ended {
		reason := slog.Any("reason", s.end.Load().reason)
		sh.logEvent(slog.LevelDebug, "subscription ended", s.chat.name, s.device, reason)
	}
}
