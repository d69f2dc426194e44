package stream

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast"
)

// Promise 90: also if it is the broker that calls the function.
func TestAFunctionThatEndsASubscribeHoldsUpNoDrain(t *testing.T) {
	for name, test := range map[string]struct {
		fail   func()
		status int
	}{
		"panic":  {func() { panic("as the test wants") }, http.StatusInternalServerError},
		"Goexit": {runtime.Goexit, http.StatusOK}, // which nobody has written
	} {
		ended := 0
		c := newCore(t, func(c *Config[string]) {
			c.Admit = func(*http.Request) (Ticket, error) {
				return Ticket{Chat: "c", Device: "d", Ended: func() { ended++ }}, nil
			}
		}, broadcast.WithChat(func(string) []broadcast.ChatOption {
			test.fail()
			return nil
		}))
		w := httptest.NewRecorder()
		var request sync.WaitGroup
		request.Go(func() {
			_, sub := c.Subscribe(w, httptest.NewRequest(http.MethodGet, "/", nil), Wish{})
			assert.Nil(t, sub, name)
		})
		request.Wait()
		assert.Equal(t, 1, ended, name)
		assert.Equal(t, test.status, w.Code, name)
		select {
		case <-c.shut():
		default:
			assert.Fail(t, "Drain would wait for ever", name)
		}
	}
}
