package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastdebug"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/internal/troubled"
)

// The page of package broadcastdebug is tested here because that package does without a browser.
func TestThePageOfBroadcastdebugIsAccessible(t *testing.T) {
	b, err := broadcast.New[string](broadcast.WithBuffer(4), broadcast.WithPatience(0))
	require.NoError(t, err)
	defer b.Close()
	for i := range 12 {
		_, err := b.Subscribe(fmt.Sprint("chat ", i%3), fmt.Sprint("device ", i))
		require.NoError(t, err)
		for range i { // some are behind, and some lose
			require.NoError(t, b.Publish(context.Background(), fmt.Sprint("chat ", i%3), "hello"))
		}
	}
	streams, err := broadcastsse.New(b, broadcastsse.Options[string]{
		Admit: func(*http.Request) (broadcastsse.Ticket, error) { return broadcastsse.Ticket{}, nil },
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/", broadcastdebug.Handler(b, streams))
	engineAway := away(t)
	mux.HandleFunc("/engine", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(engineAway)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	tab := Tab(t, Start(t))
	EachLook(t, tab, func() {
		for _, path := range []string{"/?", "/?chat=chat+1&", "/?chat=unknown&", "/engine?"} {
			tab.Do(chromedp.Navigate(server.URL + path + "paused=1")) // for axe
			Accessible(t, tab)
		}
	})
}

// away returns the page of a broker whose engine is away.
func away(t *testing.T) []byte {
	w := httptest.NewRecorder()
	synctest.Test(t, func(t *testing.T) {
		b, cut := troubled.Broker(t)
		cut()
		r := httptest.NewRequest(http.MethodGet, "/?paused=1", nil)
		broadcastdebug.Handler(b).ServeHTTP(w, r)
	})
	return w.Body.Bytes()
}
