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
		require.ErrorIs(t, err, errTooMany)
		_, err = l.Enter("bob")
		require.NoError(t, err)
		leave()
		_, err = l.Enter("ann")
		require.ErrorIs(t, err, errTooFast)
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
	assert.Equal(t, "192.0.2.1", from("192.0.2.1:7", "192.0.2.9", false))
	assert.Equal(t, "192.0.2.1", from("[::ffff:192.0.2.1]:7", "", false))
	assert.Equal(t, "192.0.2.1", from("127.0.0.1:7", "192.0.2.3, 192.0.2.1", true))
	assert.Equal(t, from("[2001:db8::1]:7", "", false), from("[2001:db8::2%eth0]:8", "", false))
	assert.NotEqual(t, from("[2001:db8::1]:7", "", false), from("[2001:db8:0:1::1]:7", "", false))
}

func TestLatelyHoldsTheLast10000AndForgetsTheRest(t *testing.T) {
	l := NewLately(func() *int { return new(int) })
	*l.Get("first") = 1
	*l.Get("used") = 2
	for i := range 25_000 {
		l.Get(fmt.Sprint(i))
		require.Equal(t, 2, *l.Get("used"))
	}
	assert.LessOrEqual(t, l.cache.Len(), 10_000)
	assert.Zero(t, *l.Get("first"))
}
