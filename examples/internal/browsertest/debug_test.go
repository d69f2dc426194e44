package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastdebug"
	"github.com/fbd86cad/broadcast/broadcastsse"
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
	server := httptest.NewServer(broadcastdebug.Handler(b, streams))
	defer server.Close()
	tab := Tab(t, Start(t))
	EachLook(t, tab, func() {
		for _, query := range []string{"", "chat=chat+1&", "chat=unknown&"} { // paused, for axe
			tab.Do(chromedp.Navigate(server.URL + "/?" + query + "paused=1"))
			Accessible(t, tab)
		}
	})
}
