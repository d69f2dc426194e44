package broadcastdebug_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastdebug"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/broadcasttest"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/troubled"
)

// get returns the body of an answer that must be 200.
func get(t *testing.T, h http.Handler, query string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/debug/broadcast"+query, nil))
	require.Equal(t, http.StatusOK, w.Code)
	return w.Body.String()
}

func report(t *testing.T, h http.Handler, query string) (r broadcastdebug.Report) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(get(t, h, "?format=json"+query)), &r))
	return r
}

// slowReader returns a broker with 1 000 subscribers of chat 7, of which one has stopped reading.
func slowReader(t *testing.T) *broadcast.Broker[int] {
	b := broadcasttest.New[int](t, broadcast.WithBuffer(16))
	var subs []*broadcast.Subscriber[int]
	for i := range 1000 {
		s, err := b.Subscribe("7", fmt.Sprintf("device %d", i))
		require.NoError(t, err)
		subs = append(subs, s)
	}
	for i := range 40 {
		require.NoError(t, b.Publish(t.Context(), "7", i))
		for j, s := range subs {
			if j != 321 {
				s.TryNext()
			}
		}
	}
	return b
}

// Promise 57.
func TestTheOneSlowReaderOfAThousandIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowReader(t)
		h := broadcastdebug.Handler(b)
		time.Sleep(time.Minute)
		r := report(t, h, "")
		require.Equal(t, b.Stats(), r.Stats)
		require.Len(t, r.Laggards, 1)
		found := r.Laggards[0]
		require.Equal(t, "device 321", found.Device)
		require.Equal(t, "losing", found.State)
		require.EqualValues(t, 24, found.Missed)
		require.Equal(t, time.Minute, r.Time.Sub(found.StuckSince))
		stats, _ := b.ChatStats("7")
		require.Equal(t, []broadcastdebug.Chat{{Name: "7", ChatStats: stats}}, r.Chats)

		page := get(t, h, "")
		for _, text := range []string{"device 321", "losing", "16 of 16", "1m0s", `href="?chat=7"`} {
			require.Contains(t, page, text)
		}
		require.Equal(t, 1, strings.Count(page, "device "))
		require.Contains(t, get(t, h, "?chat=7"), "Subscriptions")
		ofChat := report(t, h, "&chat=7").Laggards
		require.Len(t, ofChat, 200)
		require.Equal(t, found, ofChat[0])
		require.Contains(t, get(t, h, "?chat=8"), "no such chat")
		require.True(t, report(t, h, "&chat=8").Unknown)
	})
}

// Promise 57.
func TestAReportIsUsedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[int](t)
		h := broadcastdebug.Handler(b)
		accepted := func() uint64 { return report(t, h, "").Stats.Accepted }
		require.Zero(t, accepted())
		require.NoError(t, b.Publish(t.Context(), "7", 1))
		time.Sleep(time.Second - 1)
		require.Zero(t, accepted())
		time.Sleep(time.Nanosecond)
		require.EqualValues(t, 1, accepted())
	})
}

// Promise 57. Names come from clients.
func TestNamesAreShownAndNeverMarkup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[int](t)
		name := `"><script>alert(1)</script>&chat=8`
		_, err := b.Subscribe(name, name)
		require.NoError(t, err)
		require.NoError(t, b.Publish(t.Context(), name, 1))
		page := get(t, broadcastdebug.Handler(b), "")
		require.NotContains(t, page, "<script>")
		require.Contains(t, page, "&lt;script&gt;")
		require.Contains(t, page, "%26chat%3D8")
	})
}

// Promise 57.
func TestThePageReloadsUnlessItIsPaused(t *testing.T) {
	h := broadcastdebug.Handler(broadcasttest.New[int](t))
	for query, want := range map[string]struct{ refresh, link string }{
		"?chat=c%26d":          {"3", `href="?chat=c%26d&amp;paused=1">pause`},
		"?chat=c%26d&paused=1": {"", `href="?chat=c%26d">resume`},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/debug/broadcast"+query, nil))
		require.Equal(t, want.refresh, w.Header().Get("Refresh"), query)
		require.Contains(t, w.Body.String(), want.link, query)
	}
}

func TestOnlyGetIsAnswered(t *testing.T) {
	b := broadcasttest.New[int](t)
	w := httptest.NewRecorder()
	broadcastdebug.Handler(b).ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
}

// Promise 57.
func TestAReportListsABoundedNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(1))
		for i := range 300 {
			name := fmt.Sprint(i)
			_, err := b.Subscribe(name, "reader")
			require.NoError(t, err)
			for range 1 + i {
				require.NoError(t, b.Publish(t.Context(), name, 1))
			}
		}
		r := report(t, broadcastdebug.Handler(b), "")
		require.Len(t, r.Chats, 50)
		for i, c := range r.Chats {
			require.Equal(t, fmt.Sprint(299-i), c.Name, "the chats in which most was missed")
		}
		require.Len(t, r.Laggards, 50)
	})
}

// Promise 57: whatever the order in which the subscriptions of a chat are found.
func TestTheSubscriptionsOfAChatThatAreFurthestBehindComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[int](t, broadcast.WithPatience(0))
		for name, options := range map[string][]broadcast.SubscribeOption{
			"1 losing, more missed": {broadcast.WithBuffer(8)},
			"2 losing, less missed": {broadcast.WithBuffer(16)},
			"3 reading, fuller":     {broadcast.WithBuffer(25)},
			"4 reading, emptier":    {broadcast.WithBuffer(100)},
		} {
			_, err := b.Subscribe("7", name, options...)
			require.NoError(t, err)
		}
		healthy := make([]*broadcast.Subscriber[int], 500)
		for i := range healthy {
			healthy[i] = broadcasttest.Subscribe(t, b, "7", fmt.Sprint("healthy ", i))
		}
		for i := range 24 {
			require.NoError(t, b.Publish(t.Context(), "7", i))
			for _, s := range healthy {
				s.TryNext()
			}
		}
		first := report(t, broadcastdebug.Handler(b), "&chat=7").Laggards[:5]
		for i := range 4 {
			require.Equal(t, fmt.Sprint(i+1), first[i].Device[:1], first[i].Device)
		}
		require.Equal(t, "up to date", first[4].State)
	})
}

// Promise 57.
func TestThePageShowsTheFiguresOfAnEngineIfThereIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		without := broadcastdebug.Handler(slowReader(t))
		require.Zero(t, report(t, without, "").Engine)
		for _, query := range []string{"", "?chat=7"} {
			page := get(t, without, query)
			require.NotContains(t, page, "Engine")
			require.NotContains(t, page, "numbered anew")
		}

		b, cut := troubled.Broker(t)
		time.Sleep(time.Minute)
		h := broadcastdebug.Handler(b)
		for _, query := range []string{"", "&chat=7"} {
			want, got := b.Engine(), report(t, h, query).Engine
			want.Since, got.Since = want.Since.UTC(), got.Since.UTC()
			require.Equal(t, want, got)
		}
		page := get(t, h, "")
		up := time.Since(b.Engine().Since).Round(time.Second)
		for text, figure := range map[string]any{
			"for " + up.String(): "up", "other brokers": troubled.Peers, "uncertain messages": troubled.Uncertain,
			"lost messages": troubled.Lost, "times memory was lost": troubled.Resets, "gaps": troubled.Gaps,
			"records read": troubled.Fetched, "conflicts": troubled.Conflicts, "times numbered anew": troubled.AllResets,
		} {
			require.Contains(t, page, fmt.Sprintf("<b>%v</b><span>%s</span>", figure, text))
		}
		ofChat := fmt.Sprintf(`data-is="numbered anew">%d<`, troubled.ChatResets)
		require.Contains(t, page, ofChat)
		require.Contains(t, get(t, h, "?chat=7"), ofChat)
		require.NotContains(t, get(t, h, "?chat=7"), "Engine")

		cut()
		time.Sleep(time.Minute - time.Second)
		require.Contains(t, get(t, h, ""), "<b>away</b><span>for 1m0s</span>")
	})
}

// shut is a driver that cannot be opened.
type shut struct{}

func (shut) Open(context.Context, engine.Sink) (engine.Session, error) {
	return nil, errors.New("wrong password of <ann>")
}

// Promise 60.
func TestThePageShowsWhyTheEngineIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[int](t, broadcast.WithEngine(shut{}))
		synctest.Wait()
		h := broadcastdebug.Handler(b)
		require.Equal(t, "wrong password of <ann>", report(t, h, "").Engine.Reason)
		require.Contains(t, get(t, h, ""), "<p class=\"empty\">wrong password of &lt;ann&gt;</p>")
	})
}

type server broadcastsse.Stats

func (s server) Stats() broadcastsse.Stats { return broadcastsse.Stats(s) }

// Promise 59.
func TestThePageShowsTheConnectionsOfEachTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[int](t)
		stats := server{
			Transport: "websocket", Connections: 1234, Opened: 2000,
			Closed: map[string]uint64{"left": 700, "slow": 66, "kicked": 0}, Refused: map[int]uint64{403: 5},
			Batches: 1000, Frames: 2500, Bytes: 12_345_678, ShortWrites: 9,
		}
		other := server{Transport: "sse", Bytes: 999_999}
		h := broadcastdebug.Handler(b, stats, other)
		require.Equal(t, []broadcastsse.Stats{broadcastsse.Stats(other), broadcastsse.Stats(stats)}, report(t, h, "").Servers)
		page := get(t, h, "")
		for _, text := range []string{
			"Connections", ">websocket<", ">1\u202f234<", ">left 700<", ">slow 66<", ">403 × 5<", ">12.3 MB<", ">2.5<", ">9<", ">1 MB<",
		} {
			require.Contains(t, page, text)
		}
		require.NotContains(t, page, "kicked")
		require.Empty(t, report(t, h, "&chat=7").Servers)
		require.NotContains(t, get(t, broadcastdebug.Handler(b), ""), "Connections")
	})
}
