// Package page serves a page that is one file: markup, style and script, which loads nothing else.
package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// Handler returns a handler that serves a page with one script and one style element. The browser
// may run only these two, which it knows by their hashes, and may talk only to this server: text
// that got into the page as markup would have no effect.
func Handler(html string) httpjson.Handler {
	policy := strings.Join([]string{
		"default-src 'none'",
		"script-src " + hashSource(html, "script"),
		"style-src " + hashSource(html, "style"),
		"img-src data:",
		"connect-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
	return func(w http.ResponseWriter, _ *http.Request) error {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write([]byte(html)) // fails only when the client has gone
		return nil
	}
}

// hashSource returns the Content-Security-Policy source of the page's one element of that name.
func hashSource(html, element string) string {
	_, rest, _ := strings.Cut(html, "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
