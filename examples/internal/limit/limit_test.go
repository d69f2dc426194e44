package limit

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSoOftenAndSoManyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1, 3, 2)
		leave, err := l.Enter("ann")
		require.NoError(t, err)
		_, err = l.Enter("ann")
		require.NoError(t, err)
		_, err = l.Enter("ann")
		require.ErrorContains(t, err, "too many at the same time")
		_, err = l.Enter("bob")
		require.NoError(t, err)
		leave()
		_, err = l.Enter("ann")
		require.ErrorContains(t, err, "too fast")
		time.Sleep(time.Second)
		_, err = l.Enter("ann")
		require.NoError(t, err)
	})
}

func TestAClientIsAnAddressOrANetworkOfIPv6(t *testing.T) {
	from := func(remote, forwarded string, proxy bool) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", forwarded)
		return Client(r, proxy)
	}
	assert.Equal(t, "192.0.2.1/32", from("192.0.2.1:7", "192.0.2.9", false))
	assert.Equal(t, "192.0.2.1/32", from("[::ffff:192.0.2.1]:7", "", false))
	assert.Equal(t, "192.0.2.1/32", from("127.0.0.1:7", "192.0.2.3, 192.0.2.1", true))
	assert.Equal(t, from("[2001:db8::1]:7", "", false), from("[2001:db8::2%eth0]:8", "", false))
	assert.NotEqual(t, from("[2001:db8::1]:7", "", false), from("[2001:db8:0:1::1]:7", "", false))
}

func TestTheLimitsOfTheLast10000AreKnownAndThoseOfTheRestForgotten(t *testing.T) {
	l := New(1e6, 1e6, 1)
	for _, name := range []string{"first", "used"} {
		_, err := l.Enter(name)
		require.NoError(t, err)
	}
	for i := range 25_000 {
		_, err := l.Enter(fmt.Sprint(i))
		require.NoError(t, err)
		_, err = l.Enter("used")
		require.Error(t, err)
	}
	assert.LessOrEqual(t, l.seen.Len(), 10_000)
	_, err := l.Enter("first")
	require.NoError(t, err)
}
