package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/benchmarks/sockets"
	_ "github.com/fbd86cad/broadcast/broadcastsse"
	_ "github.com/fbd86cad/broadcast/broadcastws"
)

// The tests below run another program, of which go test knows nothing. It knows the packages that
// are imported here and the files that are looked at, so that it does not take results from its
// cache when the other program has changed.
func dependOnTheServer(t *testing.T) {
	files, err := filepath.Glob("sockets/server/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		_, err := os.Stat(file)
		require.NoError(t, err)
	}
}

// Every server hands every message to every client, in bursts and alone.
func TestEverySocketServerLosesNothing(t *testing.T) {
	if !sockets.Supported {
		t.Skip("the clients need Linux")
	}
	dependOnTheServer(t)
	for _, s := range socketServers() {
		if s.secure {
			continue // it is a server without TLS, too
		}
		t.Run(s.name, func(t *testing.T) {
			const clients, burst, rounds = 5, 64, 3
			turn, err := s.begin(clients, 0)
			require.NoError(t, err)
			defer turn.End()
			r, err := turn.Repeat(burst, rounds, 0)
			require.NoError(t, err)
			assert.EqualValues(t, clients*burst*rounds, r.Deliveries)
			assert.Zero(t, r.Received.Lost)
			assert.Greater(t, r.Received.Bytes, int64(r.Deliveries)*sockets.MessageSize/2)
			assert.Positive(t, r.Received.Frames)
			assert.Positive(t, r.Used.CPU)
			_, err = turn.Round(1)
			require.NoError(t, err)
		})
	}
}

func TestASocketServerThatDoesNotExistCannotBeStarted(t *testing.T) {
	if !sockets.Supported {
		t.Skip("the clients need Linux")
	}
	_, err := socketServer{name: "nobody"}.begin(1, 0)
	require.ErrorContains(t, err, "nobody")
}

func TestTheMemoryOfEverySocketServerIsMeasured(t *testing.T) {
	if !sockets.Supported {
		t.Skip("the clients need Linux")
	}
	dependOnTheServer(t)
	for _, s := range socketServers() {
		t.Run(s.name, func(t *testing.T) {
			sample, err := socketMemory(s, glance)
			require.NoError(t, err)
			assert.Contains(t, sample, residentPerClient)
			if s.blocks {
				assert.NotContains(t, sample, heapPerStuckClient)
			}
		})
	}
}
