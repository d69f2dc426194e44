package broadcastprom_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastprom"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/internal/troubled"
)

// slowReader returns a broker in which one of three readers of chat 7 has lost messages.
func slowReader(t *testing.T) *broadcast.Broker[int] {
	t.Helper()
	b, err := broadcast.New[int](broadcast.WithBuffer(4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	var subs []*broadcast.Subscriber[int]
	for i := range 3 {
		s, err := b.Subscribe("7", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, s)
	}
	for i := range 10 {
		if err := b.Publish(t.Context(), "7", i); err != nil {
			t.Fatal(err)
		}
		subs[0].TryNext()
		subs[1].TryNext()
	}
	return b
}

// server is one of WebSockets that has served for a while.
type server struct{}

func (server) Stats() broadcastsse.Stats {
	return broadcastsse.Stats{
		Transport: "websocket", Connections: 2, Opened: 9, Closed: map[string]uint64{"left": 4, "slow": 3, "kicked": 0},
		Refused: map[int]uint64{403: 1, 503: 6}, Batches: 10, Frames: 25, Bytes: 1e7, ShortWrites: 1, ShortBytes: 500,
	}
}

// everything returns a collector of all metrics that a broker has.
func everything(b *broadcast.Broker[int]) prometheus.Collector {
	return broadcastprom.NewCollector(b,
		broadcastprom.WithChats(func() []string { return []string{"7", "no such chat", "7"} }),
		broadcastprom.WithServers(server{}), broadcastprom.WithServers(server{}))
}

// scrape returns what a handler of the registry answers.
func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	return w.Body.String()
}

// scrapeAll is scrape for all metrics there are.
func scrapeAll(t *testing.T) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, _ := troubled.Broker(t)
		text = scrape(t, register(t, everything(b)))
	})
	return text
}

func register(t *testing.T, c prometheus.Collector) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	return registry
}

// Promise 58.
func TestAScrapeHasTheFiguresOfStats(t *testing.T) {
	b := slowReader(t)
	text := scrape(t, register(t, everything(b)))
	stats := b.Stats()
	for _, line := range []string{
		"broadcast_subscribers 3", "broadcast_chats 1", "broadcast_accepted_messages_total 10",
		"broadcast_delivered_messages_total 20", "broadcast_missed_messages_total 6",
		"broadcast_pending_messages 4", "broadcast_out_of_patience_total 1", "broadcast_publish_waits_total 1",
		fmt.Sprint("broadcast_publish_wait_seconds_total ", stats.PublishWait.Seconds()),
		`broadcast_chat_missed_messages_total{chat="7"} 6`, `broadcast_chat_subscribers{chat="7"} 3`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	if strings.Contains(text, "no such chat") || strings.Contains(text, "device") {
		t.Error(text)
	}
}

// Promise 58.
func TestAScrapeHasTheFiguresOfAnEngineIfThereIsOne(t *testing.T) {
	if text := scrape(t, register(t, everything(slowReader(t)))); strings.Contains(text, "broadcast_engine_") {
		t.Error("without an engine:", text)
	}
	synctest.Test(t, func(t *testing.T) {
		b, cut := troubled.Broker(t)
		registry := register(t, everything(b))
		check := func(lines ...string) {
			text := scrape(t, registry)
			for _, line := range lines {
				if !strings.Contains(text, "\n"+line+"\n") {
					t.Errorf("no line %q in\n%s", line, text)
				}
			}
		}
		check(
			"broadcast_engine_up 1",
			fmt.Sprint("broadcast_engine_peers ", troubled.Peers),
			fmt.Sprint("broadcast_engine_fetched_records_total ", troubled.Fetched),
			fmt.Sprint("broadcast_engine_gaps_total ", troubled.Gaps),
			fmt.Sprint("broadcast_engine_lost_messages_total ", troubled.Lost),
			fmt.Sprint("broadcast_engine_conflicts_total ", troubled.Conflicts),
			fmt.Sprint("broadcast_engine_uncertain_messages_total ", troubled.Uncertain),
			fmt.Sprint("broadcast_engine_resets_total ", troubled.Resets),
			fmt.Sprint("broadcast_resets_total ", troubled.AllResets),
			fmt.Sprint(`broadcast_chat_resets_total{chat="7"} `, troubled.ChatResets),
		)
		cut()
		check("broadcast_engine_up 0")
	})
}

// Promise 59.
func TestAScrapeHasTheFiguresOfServers(t *testing.T) {
	text := scrape(t, register(t, everything(slowReader(t))))
	for _, line := range []string{ // of both servers
		`broadcast_socket_connections{transport="websocket"} 4`,
		`broadcast_socket_opened_connections_total{transport="websocket"} 18`,
		`broadcast_socket_closed_connections_total{reason="kicked",transport="websocket"} 0`,
		`broadcast_socket_closed_connections_total{reason="slow",transport="websocket"} 6`,
		`broadcast_socket_refused_requests_total{code="503",transport="websocket"} 12`,
		`broadcast_socket_sent_batches_total{transport="websocket"} 20`,
		`broadcast_socket_sent_frames_total{transport="websocket"} 50`,
		`broadcast_socket_sent_bytes_total{transport="websocket"} 2e+07`,
		`broadcast_socket_short_writes_total{transport="websocket"} 2`,
		`broadcast_socket_short_write_bytes_total{transport="websocket"} 1000`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

// Promise 59: of a real server, a request that was refused.
func TestAServerOfBroadcastsseHasFigures(t *testing.T) {
	b := slowReader(t)
	streams, err := broadcastsse.New(b, broadcastsse.Options[int]{
		Admit: func(*http.Request) (broadcastsse.Ticket, error) {
			return broadcastsse.Ticket{}, &broadcastsse.Refusal{Status: http.StatusUnauthorized}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	streams.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
	text := scrape(t, register(t, broadcastprom.NewCollector(b, broadcastprom.WithServers(streams))))
	for _, line := range []string{
		`broadcast_socket_connections{transport="sse"} 0`,
		`broadcast_socket_closed_connections_total{reason="slow",transport="sse"} 0`,
		`broadcast_socket_refused_requests_total{code="405",transport="sse"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

// Promise 58.
func TestTheDocsNameMetricsThatAScrapeHas(t *testing.T) {
	docs, err := os.ReadFile("../docs/operating.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this module was downloaded without the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	text := scrapeAll(t)
	names := regexp.MustCompile(`\bbroadcast_\w+`).FindAllString(string(docs), -1)
	for _, name := range names {
		if !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("docs/operating.md names %s, which a scrape has not", name)
		}
	}
	if len(names) < 30 {
		t.Error("only", len(names), "names")
	}
}

// Promise 58: how many readers of a chat take nothing is what it misses for each message that it
// accepts, as docs/operating.md says.
func TestTheSlowReaderOfAThousandIsFoundInTwoScrapes(t *testing.T) {
	b, err := broadcast.New[int](broadcast.WithBuffer(16))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	var subs []*broadcast.Subscriber[int]
	for chat := range 10 {
		for i := range 1000 {
			s, err := b.Subscribe(fmt.Sprint(chat), fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			subs = append(subs, s)
		}
	}
	registry := register(t, broadcastprom.NewCollector(b, broadcastprom.WithChats(b.Chats)))
	work := func() {
		for i := range 40 {
			for chat := range 10 {
				if err := b.Publish(t.Context(), fmt.Sprint(chat), i); err != nil {
					t.Fatal(err)
				}
			}
			for i, s := range subs {
				if i != 7321 {
					s.TryNext()
				}
			}
		}
	}
	work()
	before := scrape(t, registry)
	work()
	after := scrape(t, registry)
	for chat := range 10 {
		increase := func(name string) float64 {
			series := regexp.MustCompile(fmt.Sprintf(`(?m)^%s\{chat="%d"\} (\d+)$`, name, chat))
			was, is := series.FindStringSubmatch(before), series.FindStringSubmatch(after)
			if was == nil || is == nil {
				t.Fatal("no series", series)
			}
			a, _ := strconv.Atoi(was[1])
			b, _ := strconv.Atoi(is[1])
			return float64(b - a)
		}
		want := 0.0
		if chat == 7 {
			want = 1
		}
		if got := increase("broadcast_chat_missed_messages_total") / increase("broadcast_chat_accepted_messages_total"); got != want {
			t.Errorf("in chat %d %v readers seem to take nothing", chat, got)
		}
	}
}

// Promise 58.
func TestNoChatIsNamedUnlessAFunctionNamesIt(t *testing.T) {
	if text := scrape(t, register(t, broadcastprom.NewCollector(slowReader(t)))); strings.Contains(text, "chat=") {
		t.Error(text)
	}
}

// Promise 58.
func TestNamesAndHelpFollowTheConventions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := troubled.Broker(t)
		problems, err := testutil.CollectAndLint(everything(b))
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

// Promise 58.
func TestTheDashboardAsksForWhatAScrapeHas(t *testing.T) {
	file, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(file, &dashboard); err != nil {
		t.Fatal(err)
	}
	text := scrapeAll(t)
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			for _, name := range regexp.MustCompile(`broadcast_\w+`).FindAllString(target.Expr, -1) {
				queries++
				kind := "gauge"
				if strings.HasSuffix(name, "_total") {
					kind = "counter"
				}
				if !strings.Contains(text, "# TYPE "+name+" "+kind+"\n") {
					t.Errorf("%s asks for %s, which is no %s of a scrape", panel.Title, name, kind)
				}
				for _, by := range regexp.MustCompile(`by \((\w+)\)`).FindAllStringSubmatch(target.Expr, -1) {
					if !regexp.MustCompile(name + `\{[^}]*\b` + by[1] + `="`).MatchString(text) {
						t.Errorf("%s asks for the %s of %s, which it has not", panel.Title, by[1], name)
					}
				}
				if rated := strings.Contains(target.Expr, "rate("+name+"["); rated != (kind == "counter") {
					t.Errorf("%s has a rate of a gauge, or a counter without: %s", panel.Title, target.Expr)
				}
			}
		}
	}
	if queries < 20 {
		t.Error("only", queries, "queries")
	}
}
