package stream

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plain frames payloads with brackets: [message], (event), ! for a ping.
type plain struct{}

func (plain) AppendMessage(dst, payload []byte, _ broadcast.Position) []byte {
	return append(append(append(dst, '['), payload...), ']')
}

func (plain) AppendEvent(dst, payload []byte, _ Event) []byte {
	return append(append(append(dst, '('), payload...), ')')
}

func (plain) AppendPing(dst []byte) []byte { return append(dst, '!') }

func (plain) AppendPacked(dst, frame []byte) []byte { return append(append(dst, '*'), frame...) }

// shelf is a sink that keeps what it is sent.
type shelf struct{ sent []string }

func (*shelf) Cut() {}

func (s *shelf) Send(b *Batch) error {
	s.sent = append(s.sent, string(b.Buf))
	b.Release()
	return nil
}

// newCore returns a core of a broker of strings, whose frames are short.
func newCore(t *testing.T, change func(*Config[string]), opts ...broadcast.Option) *Core[string] {
	t.Helper()
	config := config()
	if change != nil {
		change(&config)
	}
	core, err := New(newBroker(t, opts...), config, new(Problems))
	require.NoError(t, err)
	return core
}

// config returns options with which frames are short.
func config() Config[string] {
	config := Config[string]{
		Admit: func(*http.Request) (Ticket, error) { return Ticket{Chat: "c", Device: "d"}, nil },
		Encode: func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) {
			return append(dst, d.Message...), nil
		},
		Event:      func(dst []byte, e Event) []byte { return append(dst, e.Kind...) },
		Ping:       1 << 40,
		BatchBytes: 1 << 20,
		Framer:     plain{},
		Logger:     slog.New(slog.DiscardHandler),
	}
	config.WriteTimeout = config.Ping
	return config
}

// outlet returns an outlet of chat c, which nobody runs.
func outlet(t *testing.T, c *Core[string], device string, sink Sink) *Outlet[string] {
	t.Helper()
	sub, err := c.broker.Subscribe("c", device)
	require.NoError(t, err)
	o := c.NewOutlet(httptest.NewRequest("GET", "/", nil), sub, Wish{}, sink, false)
	t.Cleanup(o.Close)
	return o
}

// publish publishes to chat c.
func publish(t *testing.T, c *Core[string], messages ...string) {
	t.Helper()
	for _, m := range messages {
		require.NoError(t, c.broker.Publish(context.Background(), "c", m))
	}
}

// deliver sends what is there.
func (o *Outlet[T]) deliver(t *testing.T) {
	t.Helper()
	for d, ok := o.sub.TryNext(); ok; d, ok = o.sub.TryNext() {
		require.NoError(t, o.sendFrom(d))
	}
}
