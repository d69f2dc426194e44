package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
)

// page is the whole client: markup, style and script in one file, which loads nothing else.
//
//go:embed page.html
var page []byte

// pagePolicy lets the browser run the page's own script and style, known by their hashes, and talk to this server; a text that found its
// way into the page as markup would have no effect.
var pagePolicy = fmt.Sprintf(
	"default-src 'none'; script-src %s; style-src %s; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	hashOf(`(?s)<script>(.*)</script>`), hashOf(`(?s)<style>(.*)</style>`),
)

// hashOf returns the policy's word for the part of the page that the pattern's group matches.
func hashOf(pattern string) string {
	sum := sha256.Sum256(regexp.MustCompile(pattern).FindSubmatch(page)[1])
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// servePage answers GET /.
func servePage(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(page) // fails only when the client has gone
}
