package broadcast_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// event is what a logger was told.
type event struct {
	level                 slog.Level
	message, chat, device string
	reason                any
}

// journal is a slog.Handler that keeps events, after it has called on with each.
type journal struct {
	level slog.Level
	on    func(message string)

	mu     sync.Mutex
	events []event
}

func (j *journal) Enabled(_ context.Context, level slog.Level) bool { return level >= j.level }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler               { return j }
func (j *journal) WithGroup(string) slog.Handler                    { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	if j.on != nil {
		j.on(r.Message)
	}
	e := event{level: r.Level, message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "chat":
			e.chat = a.Value.String()
		case "device":
			e.device = a.Value.String()
		case "reason":
			e.reason = a.Value.Any()
		}
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	return nil
}

// about returns the events whose message has a part.
func (j *journal) about(part string) []event {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []event
	for _, e := range j.events {
		if strings.Contains(e.message, part) {
			e.message = part
			found = append(found, e)
		}
	}
	return found
}

// newLogged returns a broker that logs to j.
func newLogged(t *testing.T, j *journal) *auditedBroker[int] {
	return newBroker[int](t, broadcast.WithLogger(slog.New(j)), broadcast.WithBuffer(2), broadcast.WithPatience(0),
		broadcast.WithPublishTimeout(time.Second), broadcast.WithCleanInterval(time.Second), broadcast.WithChatIdle(time.Hour))
}

func TestEachSubscriptionIsLoggedWhenItBeginsAndWhenItEnds(t *testing.T) {
	for i := range 8 {
		bubble(t, func(t *testing.T) {
			e := ends(t)[i]
			j := &journal{level: slog.LevelDebug}
			b := newLogged(t, j)
			s := b.join(chat, "device", e.opts...)
			require.Equal(t, []event{{slog.LevelDebug, "subscribed", chat, "device", nil}}, j.about("subscribed"))
			b.publish(chat, 1, 2)
			require.Empty(t, j.about("ended"))
			e.act(b, s)
			synctest.Wait()
			require.Equal(t, []event{{slog.LevelDebug, "ended", chat, "device", s.Err()}}, j.about("ended"), e.name)
		})
	}
}

func TestAReaderThatACleanerEndsIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		b.join(chat, "device", broadcast.WithStallTimeout(time.Minute))
		b.publish(chat, 1)
		sleep(time.Minute + time.Second)
		require.Equal(t, []event{{slog.LevelDebug, "stalled reader cleaned", chat, "device", nil}}, j.about("stalled reader cleaned"))
	})
}

func TestAChatThatACleanerForgetsIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		require.NoError(t, b.join(chat, "device").Close())
		sleep(time.Hour + time.Second)
		require.Equal(t, []event{{slog.LevelDebug, "chat cleaned", chat, "", nil}}, j.about("chat cleaned"))
	})
}

func TestAPublisherThatTimesOutIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		b.join(chat, "stuck", broadcast.WithSampling(broadcast.Block))
		b.publish(chat, 1, 2)
		require.ErrorIs(t, b.Publish(t.Context(), chat, 3), broadcast.ErrOverloaded)
		require.Equal(t, []event{{slog.LevelDebug, "publisher timed out", chat, "", nil}}, j.about("publisher timed out"))
	})
}

// What any client can cause does not fill the log of a service, and what cleaners find is one line a run.
func TestAboveDebugThereIsOneLineForAllReadersThatStalledTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelInfo}
		b := newLogged(t, j)
		for i := range 10 {
			b.join(chat, string(rune('a'+i)), broadcast.WithStallTimeout(time.Minute))
		}
		b.publish(chat, 1)
		sleep(time.Minute + time.Second)
		require.Zero(t, b.Stats().Subscribers)
		require.NoError(t, b.join(chat, "device").Close())
		require.Len(t, j.events, 1)
		require.Equal(t, slog.LevelWarn, j.events[0].level)
	})
}

// eventKinds are parts of the messages of all events there are.
var eventKinds = []string{"subscribed", "ended", "stalled reader cleaned", "stalled readers cleaned", "chat cleaned", "timed out"}

// everyEvent causes an event of each kind, in the order of what a subscriber does: it comes, gets stuck, and is cleaned away.
func everyEvent(ctx context.Context, b *auditedBroker[int], chat string) {
	_, _ = b.Subscribe(chat, "stalls", broadcast.WithStallTimeout(time.Minute), broadcast.WithSampling(broadcast.Block))
	for i := range 3 {
		_ = b.Publish(ctx, chat, i)
	}
	time.Sleep(time.Minute + time.Second)
	time.Sleep(time.Hour + time.Second)
}

// No lock is held while a logger runs.
func TestALoggerMayCallTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		j.on = func(string) {
			b.Stats()
			b.Chats()
			b.Devices(chat)
			_ = b.TryPublish(chat, 0)
			_ = b.Publish(t.Context(), "elsewhere", 0)
		}
		everyEvent(t.Context(), b, chat)
		for _, kind := range eventKinds {
			require.NotEmpty(t, j.about(kind), kind)
		}
	})
}

func TestALoggerMayCallTheBrokerAtEachEnd(t *testing.T) {
	forEnds(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], e end) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		j.on = func(string) {
			b.Stats()
			b.Chats()
			b.Devices(chat)
		}
		s := b.join(chat, "logged", e.opts...)
		b.publish(chat, 1, 2)
		e.act(b, s)
		synctest.Wait()
		require.NotEmpty(t, j.about("ended"))
	})
}

func TestALoggerThatPanicsHarmsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var panics atomic.Int64
		b := newLogged(t, &journal{level: slog.LevelDebug, on: func(string) { panics.Add(1); panic("the logger's panic") }})
		for range 2 {
			everyEvent(t.Context(), b, chat)
			require.Zero(t, b.Stats().Chats)
		}
		require.EqualValues(t, 2*len(eventKinds), panics.Load())
	})
}

// Promise 22: an event of each kind hangs in its turn, and all else goes on.
func TestALoggerThatHangsHoldsUpNobodyElse(t *testing.T) {
	for _, kind := range eventKinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				hang := make(chan struct{})
				release := sync.OnceFunc(func() { close(hang) })
				t.Cleanup(release) // of a test that has failed
				var hung atomic.Bool
				b := newLogged(t, &journal{level: slog.LevelDebug, on: func(message string) {
					if strings.Contains(message, kind) && hung.CompareAndSwap(false, true) {
						<-hang
					}
				}})
				held := async(func() error { everyEvent(t.Context(), b, chat); return nil })
				sleep(time.Hour + 2*time.Minute)
				require.True(t, hung.Load())

				// The others publish, read, come and go, also in this chat, and the cleaners go on.
				stuck := b.join("beside", "stuck", broadcast.WithStallTimeout(time.Minute))
				for _, chat := range []string{chat, "beside"} {
					reader := b.join(chat, "reader")
					b.publish(chat, 1)
					require.Equal(t, []int{1}, payloads(takeAll(t, reader)))
					require.NoError(t, reader.Close())
				}
				sleep(time.Minute + time.Second)
				require.ErrorIs(t, stuck.Err(), broadcast.ErrStalled)
				sleep(time.Hour + time.Second)
				require.Zero(t, b.Stats().Subscribers)
				require.NoError(t, b.Close())
				release()
				<-held
			})
		})
	}
}
