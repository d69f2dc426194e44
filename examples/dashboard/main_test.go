package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// view is what a page knows, and how it came to know it.
type view struct {
	values map[int]float64
	number uint64
	events []string // their names
}

// read reads events until stop says so or the stream ends. It does what the page does.
func (v *view) read(t *testing.T, stream *bufio.Scanner, stop func() bool) {
	name := ""
	for !stop() && stream.Scan() {
		field, value, _ := strings.Cut(stream.Text(), ": ")
		switch field {
		case "":
			name = ""
		case "event":
			name = value
			v.events = append(v.events, name)
		case "data":
			message := struct {
				Message update `json:"message"`
				update
			}{}
			require.NoError(t, json.Unmarshal([]byte(value), &message))
			u, all := message.update, name == "ready" || name == "reset" || name == "missed"
			if name == "" {
				u = message.Message
			}
			if !all && u.Number <= v.number {
				continue
			}
			v.number = u.Number
			for id, n := range u.Values {
				v.values[id] = n
			}
		}
	}
}

func lines(body *http.Response) *bufio.Scanner {
	s := bufio.NewScanner(body.Body)
	s.Buffer(nil, 1<<20)
	return s
}

// However slow a page is, it ends up with the newest value of each sensor, and it holds up nobody.
func TestASlowPageHasTheNewestValuesInTheEnd(t *testing.T) {
	broker, err := broadcast.New[update](broadcast.WithBuffer(16), broadcast.WithPatience(0))
	require.NoError(t, err)
	defer broker.Close()
	var values table
	streams, err := newStreams(broker, &values, nil)
	require.NoError(t, err)
	server := httptest.NewServer(streams)
	defer server.Close()
	response, err := http.Get(server.URL)
	require.NoError(t, err)
	defer response.Body.Close()

	const rounds = 5_000
	for round := range rounds { // megabytes more than the kernel holds
		for id := range sensors {
			values.set(id, float64(round*id))
		}
		require.NoError(t, broker.Publish(t.Context(), "values", values.takeChanges()))
	}
	v := view{values: map[int]float64{}}
	ended := make(chan error, 1)
	go func() {
		ended <- errors.Join(broker.Shutdown(context.Background()), streams.Drain(context.Background()))
	}()
	v.read(t, lines(response), func() bool { return false })
	require.NoError(t, <-ended)
	require.Contains(t, v.events, "missed")
	require.Equal(t, values.all().Values, v.values)
	http.DefaultClient.CloseIdleConnections()
}

func TestAPageGetsAllValuesAndThenWhatChanges(t *testing.T) {
	addr, stop := start(t)
	response, err := http.Get("http://" + addr + "/events")
	require.NoError(t, err)
	defer response.Body.Close()
	v := view{values: map[int]float64{}}
	v.read(t, lines(response), func() bool { return len(v.values) > 0 })
	require.Len(t, v.values, sensors)
	first := v.number
	v.read(t, lines(response), func() bool { return v.number > first+1 })
	require.NoError(t, stop())
}

func TestAPageOfAnotherSiteReadsNothing(t *testing.T) {
	addr, stop := start(t)
	r, err := http.NewRequest(http.MethodGet, "http://"+addr+"/events", nil)
	require.NoError(t, err)
	r.Host = "evil.example"
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusMisdirectedRequest, response.StatusCode)
	require.NoError(t, stop())
}

// Eight tabs of one browser, which opens six connections to a host at most.
func TestManyTabsShareAStream(t *testing.T) {
	b := browsertest.Start(t)
	addr, stop := start(t)
	for range 8 {
		tab := browsertest.Tab(t, b)
		tab.Do(chromedp.Navigate("http://" + addr))
		tab.Until("[...document.querySelectorAll('li')].filter(li => li.textContent !== '').length === 500")
		tab.Until("document.getElementById('state').textContent === 'Live'")
	}
	require.NoError(t, stop())
}

func TestThePageIsAccessible(t *testing.T) {
	tab := browsertest.Tab(t, browsertest.Start(t))
	addr, stop := start(t)
	browsertest.EachLook(t, tab, func() {
		tab.Do(chromedp.Navigate("http://" + addr))
		tab.Sees("#state", "Live")
		tab.Until("document.querySelectorAll('li').length === 500")
		browsertest.Accessible(t, tab)
	})
	require.NoError(t, stop())
}

func TestAPageComesBackWhenTheNetworkOrTheServerDoes(t *testing.T) {
	browsertest.Recovers(t, "/", "Live", func() (string, func()) {
		addr, stop := start(t)
		end := sync.OnceFunc(func() { require.NoError(t, stop()) })
		t.Cleanup(end)
		return addr, end
	})
}

func TestItIsHealthyAndReady(t *testing.T) {
	addr, stop := start(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		response, err := http.Get("http://" + addr + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode, path)
	}
	require.NoError(t, stop())
}

// start runs the example until stop is called, which returns what serve has returned.
func start(t *testing.T) (addr string, stop func() error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, ln) }()
	return ln.Addr().String(), func() error {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		select {
		case err := <-served:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("does not end")
		}
	}
}
