package server

import (
	"net/http"
	"slices"
	"strings"
)

// fromNodes returns a handler that refuses requests of the pages of other sites, but not those of
// other nodes, whose pages it also lets read the answers.
func (s *Server) fromNodes(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	for _, node := range s.cfg.Nodes {
		_ = protection.AddTrustedOrigin(node) // broadcastws.New has checked it
	}
	protected := protection.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if !slices.Contains(s.cfg.Nodes, origin) {
			protected.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Add("Vary", "Origin")
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true") // the cookie
		if r.Method != http.MethodOptions {
			protected.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key")
		w.WriteHeader(http.StatusNoContent)
	})
}

// sources returns where the page may connect to, for its Content-Security-Policy.
func (s *Server) sources() string {
	sources := []string{"'self'"}
	for _, node := range s.cfg.Nodes {
		sources = append(sources, node, strings.Replace(node, "http", "ws", 1))
	}
	return strings.Join(sources, " ")
}
