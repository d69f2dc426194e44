// Package localhost protects a server that listens on a local address.
package localhost

import (
	"net"
	"net/http"
)

// Guard refuses requests for another host if addr, where the server listens, is a local address.
// Otherwise a page of another site could give that address a name of its own, and the browser would
// let it read what is here, and change it.
func Guard(addr net.Addr, next http.Handler) http.Handler {
	if tcp, ok := addr.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if host != "localhost" && !net.ParseIP(host).IsLoopback() {
			http.Error(w, "this server has another name", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
