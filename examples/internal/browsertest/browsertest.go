// Package browsertest is what the tests of the examples' pages have in common. Only tests import it.
package browsertest

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

// Start starts a browser that runs until the test ends, or skips the test where none is installed.
func Start(t testing.TB) *browser.Browser {
	t.Helper()
	b, err := browser.Start()
	if errors.Is(err, browser.ErrMissing) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

// Tab opens a tab until the test ends, which fails with what goes wrong in it.
func Tab(t testing.TB, b *browser.Browser) *browser.Tab {
	t.Helper()
	tab := b.Tab(func(err error) { require.NoError(t, err) })
	t.Cleanup(tab.Close)
	return tab
}

// OwnPage checks that a service has a page that runs its own script and style only, and sets text
// as text.
func OwnPage(t testing.TB, s *exampletest.Service) {
	t.Helper()
	a := s.Do(http.MethodGet, "/", "")
	require.Equal(t, http.StatusOK, a.Status)
	policy := a.Header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
	assert.Equal(t, 1, strings.Count(a.Body, "<script"))
	assert.Equal(t, 1, strings.Count(a.Body, "<style"))
	for _, markup := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style="} {
		assert.NotContains(t, a.Body, markup)
	}
}
