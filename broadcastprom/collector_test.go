package broadcastprom_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastprom"
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

// scrape returns what a server of the registry answers.
func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err, string(text))
	}
	return string(text)
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
	text := scrape(t, register(t, broadcastprom.NewCollector(b, broadcastprom.WithChats(func() []string {
		return []string{"7", "no such chat", "7"}
	}))))
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
func TestNoChatIsNamedUnlessAFunctionNamesIt(t *testing.T) {
	if text := scrape(t, register(t, broadcastprom.NewCollector(slowReader(t)))); strings.Contains(text, "chat=") {
		t.Error(text)
	}
}

// Promise 58.
func TestNamesAndHelpFollowTheConventions(t *testing.T) {
	c := broadcastprom.NewCollector(slowReader(t), broadcastprom.WithChats(func() []string { return []string{"7"} }))
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
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
	text := scrape(t, register(t, broadcastprom.NewCollector(slowReader(t), broadcastprom.WithChats(func() []string {
		return []string{"7"}
	}))))
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
				if rated := strings.Contains(target.Expr, "rate("+name+"["); rated != (kind == "counter") {
					t.Errorf("%s has a rate of a gauge, or a counter without: %s", panel.Title, target.Expr)
				}
			}
		}
	}
	if queries < 10 {
		t.Error("only", queries, "queries")
	}
}
