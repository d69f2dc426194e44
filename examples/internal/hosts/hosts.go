// Package hosts refuses requests for other hosts than the server's. Otherwise a page of another site
// could give the address of a server on this machine a name of its own, and the browser would let it
// read what is here, and change it.
package hosts

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// Local returns the names of this machine if addr is one of its local addresses. If others can reach
// addr, it returns nil, which means any name.
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
