package drain

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// Healthy answers that the process is alive.
func Healthy(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// Ready knows whether a server accepts clients. The zero Ready accepts them.
type Ready struct{ ended atomic.Bool } // set by End, read by the others

// End says that the shutdown has begun.
func (r *Ready) End() { r.ended.Store(true) }

// Ended reports whether the shutdown has begun.
func (r *Ready) Ended() bool { return r.ended.Load() }

// Answer answers 200, and 503 once the shutdown has begun, so that a load balancer sends no more
// clients.
func (r *Ready) Answer(w http.ResponseWriter, req *http.Request) error {
	if r.Ended() {
		return httpjson.Later(5*time.Second, "the server is shutting down")
	}
	return Healthy(w, req)
}
