package server

import (
	"crypto/rand"
	_ "embed"
	"net/http"
	"strings"
)

// pageHTML is the whole client: markup, style and script in one file, which loads nothing else.
//
//go:embed page.html
var pageHTML string

// page answers GET /. The browser runs only the script and the style that have the number of this
// answer: text that got into the page as markup would have no effect.
func (s *Server) page(w http.ResponseWriter, _ *http.Request) error {
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", strings.ReplaceAll("default-src 'none'; script-src 'nonce-NONCE'; "+
		"style-src 'nonce-NONCE'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "+
		"frame-ancestors 'none'", "NONCE", nonce))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = strings.NewReplacer("NONCE", nonce).WriteString(w, pageHTML) // fails only when the client has gone
	return nil
}
