package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// pageHTML is the whole client: markup, style and script in one file, which loads nothing else.
//
//go:embed page.html
var pageHTML string

// pagePolicy lets the browser run the page's own script and style, known by their hashes, talk to this server, and nothing else:
// a text that found its way into the page as markup would stay without effect.
var pagePolicy = strings.Join([]string{
	"default-src 'none'",
	"script-src " + hashSource("script"),
	"style-src " + hashSource("style"),
	"img-src data:",
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
}, "; ")

// hashSource returns the Content-Security-Policy source of the page's one element of that name.
func hashSource(element string) string {
	_, rest, _ := strings.Cut(pageHTML, "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// servePage answers GET /.
func servePage(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write([]byte(pageHTML)) // fails only when the client has gone
	return nil
}
