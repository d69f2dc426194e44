package natstest

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
)

// This server has no JetStream: the test answers in its place, and so decides when another node has
// made the stream.
func TestANodeLeavesItToOthersToMakeTheStream(t *testing.T) {
	o := options(t)
	o.JetStream = false
	s := startServer(t, o)
	conn, err := nats.Connect(s.ClientURL())
	require.NoError(t, err)
	defer conn.Close()

	var mu sync.Mutex
	var looks []time.Time
	made := 0
	answer := func(subject string, with func() any) {
		_, err := conn.Subscribe(subject, func(m *nats.Msg) {
			mu.Lock()
			defer mu.Unlock()
			data, err := json.Marshal(with())
			if err == nil {
				err = m.Respond(data)
			}
			if err != nil {
				t.Error(err)
			}
		})
		require.NoError(t, err)
	}
	failure := func(status, code int) any {
		return map[string]any{"error": map[string]any{"code": status, "err_code": code}}
	}
	found := jetstream.StreamInfo{
		Config: jetstream.StreamConfig{
			Name: "broadcast", Subjects: []string{"broadcast.p.>"}, AllowDirect: true, MaxMsgsPerSubject: 1000,
			RePublish: &jetstream.RePublish{Source: "broadcast.p.>", Destination: "broadcast.r.>"},
		},
		State: jetstream.StreamState{FirstSeq: 1},
	}
	answer("$JS.API.STREAM.INFO.broadcast", func() any {
		if looks = append(looks, time.Now()); len(looks) == 1 {
			return failure(404, 10059) // not found, but another node is about to make it
		}
		return found
	})
	answer("$JS.API.STREAM.CREATE.broadcast", func() any {
		made++
		return found
	})
	answer("broadcast.p.probe", func() any { return failure(400, 10071) })
	require.NoError(t, conn.Flush())

	open(t, broadcastnats.Options{URL: s.ClientURL()})
	mu.Lock()
	defer mu.Unlock()
	require.Zero(t, made)
	require.GreaterOrEqual(t, looks[1].Sub(looks[0]), 100*time.Millisecond)
}
