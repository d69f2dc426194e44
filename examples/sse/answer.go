package main

import (
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// What clients are told when the server, and nothing in their request, is the reason.
var (
	errForbidden = httpjson.Errorf(http.StatusForbidden, "not allowed")
	errDraining  = httpjson.Later(5*time.Second, "the server is shutting down")
	errLimit     = httpjson.Later(5*time.Second, "too many chats, or too many streams of this one")
	errBusy      = httpjson.Later(time.Second, "the chat is overloaded; the message was not accepted")
)
