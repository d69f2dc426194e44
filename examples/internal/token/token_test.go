package token

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestATokenIsGoodUntilItsEndForItsKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := Key("a key")
		token, err := key.Issue("ann. é", time.Hour)
		require.NoError(t, err)
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
		last := len(token) - 1
		for i := range 64 { // some decode to the same bytes
			if c := base64.RawURLEncoding.EncodeToString([]byte{byte(i) << 2})[0]; c != token[last] {
				_, err := key.Verify(token[:last] + string(c))
				require.Error(t, err, "%c for %c", c, token[last])
			}
		}
		for _, forged := range []string{
			"", " ", "ann", token[:last], token + "A", token + "\n", key.token(0, "ann"),
			Key("").token(time.Now().Add(time.Hour).Unix(), "ann"),
			base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(" ", 40))),
		} {
			_, err = key.Verify(forged)
			require.Error(t, err, forged)
		}
		time.Sleep(time.Hour)
		_, err = key.Verify(token)
		require.Error(t, err)
	})
}

func TestATokenIsIssuedForTheOneFormOfAName(t *testing.T) {
	key := Key("a key")
	token, err := key.Issue(" Ann  B ", Age)
	require.NoError(t, err)
	name, err := key.Verify(token)
	require.NoError(t, err)
	assert.Equal(t, "Ann B", name)
	_, err = key.Issue("\u200b", Age)
	require.Error(t, err)
}
