package broadcastsse_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastsse"
)

// status is what OnlyHosts answers to a request for a host.
func status(names []string, host string) int {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = host
	w := httptest.NewRecorder()
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	broadcastsse.OnlyHosts(names, next).ServeHTTP(w, r)
	return w.Code
}

// Promise 81.
func TestALocalServerAnswersToLocalNamesOnly(t *testing.T) {
	local := broadcastsse.LocalHosts(&net.TCPAddr{IP: net.IPv4(127, 1, 2, 3), Port: 80})
	public := broadcastsse.LocalHosts(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80})
	for host, own := range map[string]bool{
		"localhost": true, "localhost:80": true, "LocalHost": true, "127.0.0.1": true,
		"127.1.2.3:80": true, "[::1]:80": true, "[::1]": true, "": false, "evil.example": false,
		"evil.example:80": false, "localhost.evil.example": false, "10.0.0.1": false,
	} {
		want := http.StatusMisdirectedRequest
		if own {
			want = http.StatusOK
		}
		require.Equal(t, want, status(local, host), host)
		require.Equal(t, http.StatusOK, status(public, host), host)
	}
	require.Nil(t, broadcastsse.LocalHosts(&net.UnixAddr{Name: "socket", Net: "unix"}))
}

// Promise 81.
func TestAHostMayHaveAPort(t *testing.T) {
	names := []string{"chat.example:8443", "Chat.example.org"}
	for host, want := range map[string]int{
		"chat.example:8443": 200, "chat.example": 421, "chat.example:80": 421,
		"chat.EXAMPLE.org": 200, "chat.example.org:80": 200,
	} {
		require.Equal(t, want, status(names, host), host)
	}
}

func TestTheFirstEventMayHaveTheDevices(t *testing.T) {
	devices := func(kind broadcastsse.Kind) string {
		return string(broadcastsse.AppendEventWithDevices(nil, broadcastsse.Event{
			Kind: kind, Present: func() []string { return []string{"ann"} },
		}))
	}
	for _, kind := range []broadcastsse.Kind{
		broadcastsse.Ready, broadcastsse.Reset, broadcastsse.Resync,
	} {
		assert.Contains(t, devices(kind), `"devices":["ann"]`, kind)
	}
	for _, kind := range []broadcastsse.Kind{broadcastsse.Joined, broadcastsse.Ended} {
		assert.NotContains(t, devices(kind), "devices", kind)
	}
	first := broadcastsse.Event{Kind: broadcastsse.Ready}
	assert.NotContains(t, string(broadcastsse.AppendEvent(nil, first)), "devices", "nobody asked")
}
