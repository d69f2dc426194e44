package token

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestATokenIsGoodUntilItsEndForItsKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := Key("a key")
		token := key.Sign("ann. é", time.Now().Add(time.Hour))
		name, err := key.Verify(token)
		require.NoError(t, err)
		assert.Equal(t, "ann. é", name)
		_, err = Key("another").Verify(token)
		require.Error(t, err)
		for i := range len(token) {
			changed := []byte(token)
			changed[i] ^= 1
			_, err := key.Verify(string(changed))
			require.Error(t, err, "%s", changed)
		}
		time.Sleep(time.Hour)
		_, err = key.Verify(token)
		require.Error(t, err)
	})
}

func TestWhatTheClientSendsByItselfWinsOverTheCookie(t *testing.T) {
	for want, headers := range map[string]map[string]string{
		"":       {"Authorization": "Basic x"},
		"cookie": {"Cookie": "a=cookie", "Sec-WebSocket-Protocol": "chat"},
		"offer":  {"Cookie": "a=cookie", "Sec-WebSocket-Protocol": "chat, bearer.offer"},
		"bearer": {"Cookie": "a=cookie", "Sec-WebSocket-Protocol": "bearer.offer", "Authorization": "Bearer bearer"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for name, value := range headers {
			r.Header.Set(name, value)
		}
		assert.Equal(t, want, Of(r, "a"))
	}
}
