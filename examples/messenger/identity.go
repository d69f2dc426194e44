package main

import (
	"net/http"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// identityFunc says on whose behalf a request acts: who posts, or whose device watches. claim is what the request itself says
// (0 when it says nothing, as in GET /devices), and chat is where it wants to go.
type identityFunc func(r *http.Request, chat, claim httpjson.ID) (httpjson.ID, error)

// identity believes every claim: here identity is taken as given.
//
// This is the one place to put authentication and authorisation. In production, look at a session cookie or a bearer
// token of r, find out who that is, and return [errForbidden] when claim is somebody else or chat is not for them. It is asked before
// every post, before every subscription and before anybody is told who is in a chat; a subscription takes over from an
// older one of the same device, so a claim that is believed can also end somebody's connection.
func identity(_ *http.Request, _, claim httpjson.ID) (httpjson.ID, error) {
	return claim, nil
}

// errForbidden is the answer to a request that identity does not let pass.
var errForbidden = httpjson.Errorf(http.StatusForbidden, "not yours")
