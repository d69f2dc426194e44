package hosts

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func status(names []string, host string) int {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = host
	w := httptest.NewRecorder()
	Only(names, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
	return w.Code
}

func TestALocalServerAnswersToLocalNamesOnly(t *testing.T) {
	local, public := Local(&net.TCPAddr{IP: net.IPv4(127, 1, 2, 3), Port: 80}), Local(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80})
	for host, own := range map[string]bool{
		"localhost": true, "localhost:80": true, "127.0.0.1": true, "127.1.2.3:80": true, "[::1]:80": true, "[::1]": true,
		"": false, "evil.example": false, "evil.example:80": false, "localhost.evil.example": false, "10.0.0.1": false,
	} {
		want := http.StatusMisdirectedRequest
		if own {
			want = http.StatusOK
		}
		require.Equal(t, want, status(local, host), host)
		require.Equal(t, http.StatusOK, status(public, host), host)
	}
	require.Nil(t, Local(&net.UnixAddr{Name: "socket", Net: "unix"}))
}

func TestANameMayHaveAPort(t *testing.T) {
	names := []string{"chat.example:8443", "Chat.example.org"}
	for host, want := range map[string]int{
		"chat.example:8443": 200, "chat.example": 421, "chat.example:80": 421, "chat.EXAMPLE.org": 200, "chat.example.org:80": 200,
	} {
		require.Equal(t, want, status(names, host), host)
	}
}
