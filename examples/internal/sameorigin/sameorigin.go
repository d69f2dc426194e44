// Package sameorigin refuses requests that pages of other sites make a browser send.
package sameorigin

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// ErrForeign is the answer to a page of another site.
var ErrForeign = httpjson.Errorf(http.StatusForbidden, "request comes from another site")

// Guard recognizes cross-site requests by the headers that browsers set. Make it with [New]; it may
// be used from any goroutine.
type Guard struct{ origins *http.CrossOriginProtection }

// New returns a Guard for a server that is reached under the name that the Host header says.
func New() Guard {
	g := Guard{http.NewCrossOriginProtection()}
	g.origins.SetDenyHandler(httpjson.Refuse(ErrForeign))
	return g
}

// Handler returns a handler that calls next for each GET and HEAD, and for other requests only if
// they are not foreign.
func (g Guard) Handler(next http.Handler) http.Handler { return g.origins.Handler(next) }

// CheckAsPost returns ErrForeign for a request from another site, even a GET.
// [http.CrossOriginProtection] lets every GET pass, because a GET should change nothing. One that
// opens a stream does change something if the stream takes over from an older one, and a browser
// sends it for any page, with cookies.
func (g Guard) CheckAsPost(r *http.Request) error {
	if g.origins.Check(&http.Request{Method: http.MethodPost, Host: r.Host, URL: r.URL, Header: r.Header}) != nil {
		return ErrForeign
	}
	return nil
}

var errForeignHost = httpjson.Errorf(http.StatusMisdirectedRequest, "this server has another name")

// Hosts returns a handler that calls next for requests to these names, with or without a port; nil
// means any. To others it answers 421: a page of another site could give the address of a server a
// name of its own, and would not be foreign then.
func Hosts(hosts []string, next http.Handler) http.Handler {
	if hosts == nil {
		return next
	}
	return httpjson.Handler(func(w http.ResponseWriter, r *http.Request) error {
		name, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			name = strings.Trim(r.Host, "[]")
		}
		if !slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, name) || strings.EqualFold(h, r.Host) }) {
			return errForeignHost
		}
		next.ServeHTTP(w, r)
		return nil
	})
}
