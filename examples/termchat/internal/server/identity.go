package server

import (
	"net/http"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// identityFunc says on whose behalf a request acts: who is called what in a room, or uploads to it. name is what the request itself
// says, and room is where it wants to go; both are empty when somebody wants to download.
type identityFunc func(r *http.Request, room, name string) (string, error)

// identity believes every claim: here identity is taken as given.
//
// This is the one place to put authentication and authorisation. In production, look at a bearer token or a client
// certificate of r, find out who that is, and return [errForbidden] when name is somebody else's or room is not for them. It is asked before
// every subscription, before a byte of an upload is read, and before a file is handed out; a subscription takes over from an older one
// of the same name, so a claim that is believed can also end somebody's connection.
func identity(_ *http.Request, _, name string) (string, error) {
	return name, nil
}

// errForbidden is the answer to a request that identity does not let pass.
var errForbidden = httpjson.Errorf(http.StatusForbidden, "not yours")
