package page

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestThePolicyAllowsThePagesOwnScriptAndStyleByTheirHashes(t *testing.T) {
	const html = "<style>a{}</style>\n<script>\nif (1<2) alert(1)\n</script>"
	w := httptest.NewRecorder()
	Handler(html).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	assert.Equal(t, html, w.Body.String())
	policy := w.Header().Get("Content-Security-Policy")
	// printf '\nif (1<2) alert(1)\n' | openssl dgst -sha256 -binary | base64
	assert.Contains(t, policy, "script-src 'sha256-zjiE5/nfmCaSNSetGzQ4X7y44pqT8WQRfWqqR+E8oU8='; style-src 'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk=';")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
}
