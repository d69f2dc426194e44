// Package broadcastdebug serves a page that shows the state of a broker: its counters, those of its
// engine if it has one, the chats that lose or wait most, the readers that are furthest behind, and
// the connections of its servers. The same figures are available as JSON.
//
//	mux.Handle("/debug/broadcast", auth(broadcastdebug.Handler(broker, sockets, streams)))
//
// The page shows the names of chats and devices. Serve it only to the operators of the service:
// behind a login, or on an address that only they can reach.
package broadcastdebug

import (
	"encoding/json"
	"net/http"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// Handler returns a handler for the page. It may be mounted under any path, and answers GET and
// HEAD. Each of servers is a Server of broadcastws or broadcastsse, whose connections the page
// shows.
//
// Without parameters the page shows the whole broker; with chat=NAME it shows the subscriptions of
// one chat. With format=json the answer is a [Report]. The page reloads every few seconds unless
// the query has paused=1, and needs no other resources.
//
// A report visits every chat and every subscription once. It is made on request, and reused for a
// second or for ten times as long as it took to make, whichever is longer. So the reports of one
// page take at most a tenth of one CPU, however many people watch it, and nothing while nobody
// does.
func Handler[T any](
	b *broadcast.Broker[T], servers ...interface{ Stats() broadcastsse.Stats },
) http.Handler {
	h := &handler{reports: reporter{source: b, servers: servers, made: make(map[string]made)}}
	mux := http.NewServeMux()
	mux.Handle("GET /", h)
	return mux
}

// handler answers requests.
type handler struct {
	reports reporter
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	report := h.reports.report(r.FormValue("chat"))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.FormValue("format") == "json" {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(report) // the client may have gone
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	paused := r.FormValue("paused") != ""
	if !paused {
		w.Header().Set("Refresh", "3")
	}
	_ = page.Execute(w, struct {
		*Report
		Paused bool
	}{report, paused})
}
