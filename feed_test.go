package broadcast_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// A chat with nobody in it is forgotten when its idle time is over, also while somebody waits for
// it to be ready.
func TestAWaitForTheEngineEndsThoughTheChatIsForgotten(t *testing.T) {
	for name, call := range map[string]func(b *broadcast.Broker[int]) error{
		"Subscribe": func(b *broadcast.Broker[int]) error { _, err := b.Subscribe(chat, "ann"); return err },
		"Head":      func(b *broadcast.Broker[int]) error { _, err := b.Head(context.Background(), chat); return err },
		"Last":      func(b *broadcast.Broker[int]) error { _, _, err := b.Last(context.Background(), chat); return err },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithEngine(noEngine{}), broadcast.WithPublishTimeout(5*time.Second),
					broadcast.WithChatIdle(time.Second), broadcast.WithCleanInterval(100*time.Millisecond))
				answer := async(func() error { return call(b.Broker) })
				sleep(4 * time.Second)
				require.GreaterOrEqual(t, b.Stats().ChatsCleaned, uint64(3))
				require.Equal(t, result{broadcast.ErrAway, 5 * time.Second}, inTime(t, answer))
			})
		})
	}
}
