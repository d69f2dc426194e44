package natstest

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/engine/enginetest"
)

func TestOpenReturnsEarly(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	e := newEngine(t, broadcastnats.Options{URL: "nats://" + silent.Addr().String()})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := silent.Accept()
		if err == nil {
			defer c.Close()
			cancel() // while the client waits for the server to begin
			_, _ = c.Read(make([]byte, 1))
		}
	}()
	_, err = e.Open(ctx, new(sink))
	require.ErrorIs(t, err, context.Canceled)
	_, err = e.Open(ctx, new(sink))
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, silent.Close())
	_, err = e.Open(t.Context(), new(sink))
	require.ErrorIs(t, err, nats.ErrNoServers)
}

func TestOptionsCannotKeepTheConnectionFromComingBack(t *testing.T) {
	s := startServer(t, options(t))
	p := newProxy(t, s.Addr().String())
	o := broadcastnats.Options{URL: p.url(), Connect: []nats.Option{nats.NoReconnect(), nats.MaxReconnects(1)}}
	_, told := open(t, o)
	p.setCut(true)
	eventually(t, "down", func() bool { return !get(told, func() bool { return told.up }) })
	p.setCut(false)
	eventually(t, "up", func() bool { return get(told, func() bool { return told.up }) })
}

func TestCallsInFlightEndWithTheConnection(t *testing.T) {
	s := startServer(t, options(t))
	p := newProxy(t, s.Addr().String())
	session, told := open(t, broadcastnats.Options{URL: p.url()})
	p.setSilent(true) // requests get lost
	results := make(chan error, 2)
	go func() {
		_, err := enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, nil, "1")
		results <- err
	}()
	go func() {
		_, err := session.Heads(t.Context(), "c")
		results <- err
	}()
	for range 2 {
		select {
		case err := <-results:
			require.Error(t, err)
			require.False(t, errors.Is(err, engine.ErrConflict))
		case <-time.After(settle):
			require.FailNow(t, "a call goes on")
		}
	}
	eventually(t, "down", func() bool { return !get(told, func() bool { return told.up }) })
}

// fill sends until a call blocks or fails, because the proxy takes no more data. It returns what
// the last call will return.
func fill(t *testing.T, session engine.Session, p *proxy) <-chan error {
	t.Helper()
	p.setFull(true)
	result := make(chan error, 1)
	var sent atomic.Int64
	go func() {
		data := make([]byte, 100_000)
		for {
			if err := session.Send("c", data); err != nil {
				result <- err
				return
			}
			sent.Add(1)
		}
	}()
	before, polls := int64(0), 0
	eventually(t, "full", func() bool {
		now := sent.Load()
		if polls++; now != before {
			before, polls = now, 0
		}
		return polls > 100
	})
	return result
}

func TestCallsReturnWhenTheServerTakesNoMoreData(t *testing.T) {
	s := startServer(t, options(t))
	p := newProxy(t, s.Addr().String())
	custom := nats.SetCustomDialer(new(net.Dialer))
	session, told := open(t, broadcastnats.Options{URL: p.url(), Connect: []nats.Option{custom}})
	sent := fill(t, session, p)
	select {
	case err := <-sent:
		require.Error(t, err)
	case <-time.After(settle):
		require.FailNow(t, "Send goes on")
	}
	eventually(t, "down", func() bool { return !get(told, func() bool { return told.up }) })
	p.setFull(false)
	eventually(t, "up", func() bool { return get(told, func() bool { return told.up }) })
}

func TestCloseReturnsWhenTheServerTakesNoMoreData(t *testing.T) {
	s := startServer(t, options(t))
	p := newProxy(t, s.Addr().String())
	session, _ := open(t, broadcastnats.Options{URL: p.url()})
	sent := fill(t, session, p)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = session.Close(t.Context())
	}()
	select {
	case <-closed:
		require.Error(t, <-sent)
	case <-time.After(settle):
		require.FailNow(t, "Close goes on")
	}
}
