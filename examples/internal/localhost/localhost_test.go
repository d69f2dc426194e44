package localhost

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALocalServerAnswersToLocalNamesOnly(t *testing.T) {
	local, public := &net.TCPAddr{IP: net.IPv6loopback, Port: 80}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}
	for host, own := range map[string]bool{
		"localhost": true, "localhost:80": true, "127.0.0.1": true, "127.1.2.3:80": true, "[::1]:80": true,
		"": false, "evil.example": false, "evil.example:80": false, "localhost.evil.example": false, "10.0.0.1": false,
	} {
		for _, addr := range []net.Addr{local, public} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host = host
			w := httptest.NewRecorder()
			Guard(addr, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			want := http.StatusMisdirectedRequest
			if own || addr == public {
				want = http.StatusOK
			}
			require.Equal(t, want, w.Code, "%s at %v", host, addr)
		}
	}
}
