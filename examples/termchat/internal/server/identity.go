package server

import (
	"net/http"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// identityFunc returns on whose behalf a request acts: the name of who joins a room, or uploads to
// it. name is what the request itself says, and room is the room that it is about; both are empty
// for a download.
type identityFunc func(r *http.Request, room, name string) (string, error)

// identity trusts every claim: it authenticates nobody.
//
// This is the one place to put authentication and authorisation. In production, look at a bearer
// token or a client certificate of r, find out who that is, and return [errForbidden] if name is
// somebody else's or they may not use the room. It is called before every subscription, before a
// byte of an upload is read, and before a download. A subscription takes over from an older one of
// the same name, so trusting a false claim can also end somebody's connection.
func identity(_ *http.Request, _, name string) (string, error) {
	return name, nil
}

// errForbidden is the answer to a request that identity refuses.
var errForbidden = httpjson.Errorf(http.StatusForbidden, "not yours")
