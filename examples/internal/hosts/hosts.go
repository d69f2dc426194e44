// Package hosts refuses requests that name another host. Otherwise a page of another site could
// point its own host name at a server on this machine, and the browser would let it read and change
// what is there.
package hosts

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Local returns the names of this machine if addr is a loopback address. If other machines can
// reach addr, it returns nil, which means any name.
func Local(addr net.Addr) []string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return nil
	}
	return []string{"localhost", "127.0.0.1", "::1", tcp.IP.String()}
}

// Only returns a handler that calls next for requests to these names, with or without a port, and
// answers others with 421. If names is nil, it returns next.
func Only(names []string, next http.Handler) http.Handler {
	if names == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			name = strings.Trim(r.Host, "[]")
		}
		if !slices.ContainsFunc(names, func(own string) bool {
			return strings.EqualFold(own, name) || strings.EqualFold(own, r.Host)
		}) {
			http.Error(w, "this server has another name", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
