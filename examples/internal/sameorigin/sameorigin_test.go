package sameorigin

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAPageOfAnotherSiteMayGetAndNotChange(t *testing.T) {
	g := New()
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, row := range []struct {
		header, value string
		foreign       bool
	}{
		{"X-None", "", false}, // no browser
		{"Origin", "http://example.com", false},
		{"Sec-Fetch-Site", "same-origin", false},
		{"Sec-Fetch-Site", "none", false}, // typed by the person
		{"Origin", "https://evil.example", true},
		{"Origin", "null", true},
		{"Sec-Fetch-Site", "cross-site", true},
		{"Sec-Fetch-Site", "same-site", true},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := httptest.NewRequest(method, "/stream", nil) // to example.com
			r.Header.Set(row.header, row.value)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			want := http.StatusOK
			if row.foreign && method == http.MethodPost {
				want = http.StatusForbidden
			}
			assert.Equal(t, want, w.Code, "%s %v", method, row)
			if row.foreign {
				assert.ErrorIs(t, g.CheckAsPost(r), ErrForeign, "%s %v", method, row)
			} else {
				assert.NoError(t, g.CheckAsPost(r), "%s %v", method, row)
			}
			assert.Equal(t, method, r.Method)
		}
	}
}
