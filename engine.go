package broadcast

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
)

// Away is what Publish does while the engine cannot be reached; see [WithAway].
type Away uint8

const (
	// AwayWait makes Publish wait, as it waits for room in a buffer, and return [ErrAway] at the
	// publish timeout.
	AwayWait Away = iota
	// AwayRefuse makes Publish return [ErrAway] at once.
	AwayRefuse
)

// Errors of a broker with an engine. They may be wrapped with details.
var (
	// ErrAway means that the engine could not be reached in time. A message that was refused with
	// it is never delivered.
	ErrAway = engine.ErrAway

	// ErrUncertain means that it is not known whether a message was accepted: it may appear in the
	// order of its chat, now or later. It wraps the reason, such as an error of a context. Of all
	// errors of Publish, only after this one may the message be delivered.
	ErrUncertain = cluster.ErrUncertain
)

// EngineStats holds the counters of a broker's connection with its engine; see [Broker.Engine].
type EngineStats struct {
	Up     bool      // the engine can be reached
	Since  time.Time // when that changed, or when the broker was made
	Reason string    // why the engine cannot be reached, for people; empty while it can
	Peers  int       // other brokers that are alive

	Fetched   uint64 // records that were read because the engine had not handed them over
	Gaps      uint64 // times when a record showed that others had been missed
	Lost      uint64 // messages that the engine no longer had when they were read
	Conflicts uint64 // batches that were numbered anew, because another broker was faster
	Uncertain uint64 // messages that were refused with ErrUncertain
	Resets    uint64 // times when the engine had lost its memory of a chat
}

// Engine returns the counters of the connection with the engine. They are all zero without one. It
// does not block, and the counters are not a snapshot of one moment.
func (b *Broker[T]) Engine() EngineStats {
	if !b.valid() || b.node == nil {
		return EngineStats{}
	}
	return EngineStats(b.node.Stats())
}

// A codec holds the two functions of [WithCodec].
type codec[T any] struct {
	marshal   func(T) ([]byte, error)
	unmarshal func([]byte) (T, error)
}

// codecOf returns the codec of WithCodec, or that of package json.
func codecOf[T any](config *brokerConfig) codec[T] {
	if c, ok := config.codec.(codec[T]); ok {
		return c
	}
	return codec[T]{
		marshal: func(msg T) ([]byte, error) { return json.Marshal(msg) },
		unmarshal: func(data []byte) (msg T, err error) {
			err = json.Unmarshal(data, &msg)
			return msg, err
		},
	}
}

// errTryPublish is the error of a call that an engine cannot serve.
var errTryPublish = invalidf("TryPublish with an engine")

// engineWait returns the context for a wait for the engine: until, or a context that never ends if
// until is nil, limited by the publish timeout with ErrAway as the cause. Without an engine nothing
// waits, and it returns noWait.
func (b *Broker[T]) engineWait(until context.Context) (context.Context, context.CancelFunc) {
	switch timeout := b.config.publishTimeout; {
	case b.node == nil:
		return noWait, func() {}
	case until == nil:
		return b.engineWait(context.Background())
	case timeout > 0:
		return context.WithTimeoutCause(until, timeout, ErrAway)
	}
	return until, func() {}
}

// awaitOrder waits until the feed of a chat, if it has one, is ready and has caught up. ctx is from
// engineWait. Its errors are those of Subscribe, and errForgotten if the caller must begin anew.
func (b *Broker[T]) awaitOrder(ctx context.Context, c *chat[T], resume Position) error {
	if c.feed == nil {
		return nil
	}
	err := c.feed.awaitOrder(ctx, resume)
	switch {
	case err == errForgotten && b.state.Load() != stateOpen:
		return ErrBrokerClosed
	case err != nil && err != errForgotten && context.Cause(ctx) == ErrAway:
		return ErrAway
	}
	return err
}

// publishToEngine encodes a message and waits until the engine has stored it.
func (b *Broker[T]) publishToEngine(ctx context.Context, chat string, msg *T) error {
	if ctx == noWait {
		return errTryPublish
	}
	data, err := b.encode(msg)
	if err != nil {
		return err
	}
	return engineError(b.node.Publish(ctx, chat, data))
}

// encode encodes a message with the codec of the broker. If the codec panics or exits the
// goroutine, encode counts the message as rejected, because publish cannot.
func (b *Broker[T]) encode(msg *T) (data []byte, err error) {
	returned := false
	defer func() {
		if !returned {
			b.totals.rejected.Add(1)
		}
	}()
	data, err = b.codec.marshal(*msg)
	returned = true
	if err != nil {
		return nil, fmt.Errorf("%w: message cannot be encoded: %w", ErrInvalid, err)
	}
	return data, nil
}

// engineError translates an error of a [cluster.Node] to one of this package.
func engineError(err error) error {
	var reason error
	var ended *cluster.EndedError
	switch {
	case errors.As(err, &ended):
		return endError(ended.Reason)
	case err == cluster.ErrInUse:
		return ErrInUse
	case errors.Is(err, engine.ErrRefused):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case errors.Is(err, cluster.ErrTimeout):
		reason = ErrOverloaded
	case errors.Is(err, cluster.ErrClosed):
		reason = ErrBrokerClosed
	default:
		return err
	}
	if errors.Is(err, ErrUncertain) {
		return fmt.Errorf("%w: %w", ErrUncertain, reason)
	}
	return reason
}
