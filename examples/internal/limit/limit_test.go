package limit

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func from(addr string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = addr
	return r
}

func TestAClientEntersSoOftenAndSoManyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClients(1, 3, 2, false)
		leave, err := c.Enter(from("192.0.2.1:1"))
		require.NoError(t, err)
		_, err = c.Enter(from("192.0.2.1:2"))
		require.NoError(t, err)
		_, err = c.Enter(from("192.0.2.1:3"))
		require.ErrorIs(t, err, errTooMany)
		_, err = c.Enter(from("192.0.2.2:1"))
		require.NoError(t, err, "of another client")
		leave()
		_, err = c.Enter(from("192.0.2.1:4"))
		require.ErrorIs(t, err, errTooFast)
		time.Sleep(time.Second)
		_, err = c.Enter(from("192.0.2.1:4"))
		require.NoError(t, err)
	})
}

func TestLatelyHoldsTheLast10000AndForgetsTheRest(t *testing.T) {
	l := NewLately(func() *int { return new(int) })
	*l.Get("first") = 1
	*l.Get("used") = 2
	for i := range 25_000 {
		l.Get(fmt.Sprint(i))
		require.Equal(t, 2, *l.Get("used"))
	}
	assert.LessOrEqual(t, len(l.now)+len(l.old), 20_000)
	assert.Zero(t, *l.Get("first"))
}

func TestOnceDoesWhatFailedAgainAndWhatSucceededNot(t *testing.T) {
	o, n := NewOnce(), 0
	failed := errors.New("failed")
	require.ErrorIs(t, o.Do("ann", "1", func() error { n++; return failed }), failed)
	require.NoError(t, o.Do("ann", "1", func() error {
		n++
		require.ErrorIs(t, o.Do("ann", "1", func() error { n++; return nil }), errUnderWay)
		require.NoError(t, o.Do("bob", "1", func() error { n++; return nil }))
		return nil
	}))
	require.NoError(t, o.Do("ann", "1", func() error { n++; return nil }))
	assert.Equal(t, 3, n)
	assert.Panics(t, func() { _ = o.Do("ann", "2", func() error { panic("a bug") }) })
	require.NoError(t, o.Do("ann", "2", func() error { n++; return nil }))
	assert.Equal(t, 4, n)
}
