// Package sameorigin refuses what pages of other sites make a browser send.
package sameorigin

import (
	"net/http"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// ErrForeign is the answer to a page of another site.
var ErrForeign = httpjson.Errorf(http.StatusForbidden, "request comes from another site")

// Guard knows a request of another site by what browsers say of it. Make it with [New]; it may be used from any goroutine.
type Guard struct{ origins *http.CrossOriginProtection }

// New returns a Guard for a server that is reached under the name that the Host header says.
func New() Guard {
	g := Guard{http.NewCrossOriginProtection()}
	g.origins.SetDenyHandler(httpjson.Refuse(ErrForeign))
	return g
}

// Handler returns next for all that may change something and is not foreign, and for each GET and HEAD.
func (g Guard) Handler(next http.Handler) http.Handler { return g.origins.Handler(next) }

// CheckAsPost returns ErrForeign for a request of another site, a GET included. [http.CrossOriginProtection] lets every GET pass
// because a GET changes nothing. One that opens a stream does if the stream takes over from an older one, and a browser sends it for
// any page, with cookies.
func (g Guard) CheckAsPost(r *http.Request) error {
	if g.origins.Check(&http.Request{Method: http.MethodPost, Host: r.Host, URL: r.URL, Header: r.Header}) != nil {
		return ErrForeign
	}
	return nil
}
