package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/browsertest"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is the example, whose jobs run a shell script.
type service struct {
	t    *testing.T
	url  string
	stop func() error // as a signal does, and returns what serve has returned
}

func start(t *testing.T, script string) *service {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, ln, []string{"sh", "-c", script}) }()
	s := &service{t, "http://" + ln.Addr().String(), sync.OnceValue(func() error { cancel(); return <-served })}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		_ = s.stop()
	})
	return s
}

func (s *service) run() (job string) {
	response, err := http.Post(s.url+"/jobs", "", nil)
	require.NoError(s.t, err)
	defer response.Body.Close()
	require.Equal(s.t, http.StatusCreated, response.StatusCode)
	return response.Header.Get("Location")
}

// watch reads the stream of a job until enough says so or it ends.
func (s *service) watch(job, after string, enough func(*stream) bool) *stream {
	r, err := http.NewRequest(http.MethodGet, s.url+job, nil)
	require.NoError(s.t, err)
	r.Header.Set("Last-Event-ID", after)
	response, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer response.Body.Close()
	v := &stream{status: response.StatusCode}
	event := ""
	for scanner := bufio.NewScanner(response.Body); scanner.Scan() && (enough == nil || !enough(v)); {
		field, value, _ := strings.Cut(scanner.Text(), ": ")
		var data struct{ Message, Reason string }
		switch field {
		case "":
			event = ""
		case "id":
			v.id = value
		case "event":
			event = value
			v.events = append(v.events, value)
		case "data":
			require.NoError(s.t, json.Unmarshal([]byte(value), &data))
			switch event {
			case "":
				v.lines = append(v.lines, data.Message)
			case "ended":
				v.result = data.Reason
			}
		}
	}
	return v
}

// stream is what somebody has seen of a log.
type stream struct {
	status        int
	lines, events []string
	id            string // of the last event that had one
	result        string
}

func TestALogEndsWithTheResultOfItsJob(t *testing.T) {
	for script, want := range map[string]string{
		"echo one; echo two":         "",
		"echo one; echo two; exit 3": "exit status 3",
	} {
		s := start(t, script)
		job := s.run()
		for range 2 { // while it runs, perhaps, and after its end
			v := s.watch(job, "", nil)
			require.Equal(t, []string{"$ sh -c " + script, "one", "two"}, v.lines)
			require.Equal(t, []string{"ready", "ended"}, v.events)
			require.Contains(t, v.result, want)
		}
		require.NoError(t, s.stop())
	}
}

func TestWhoComesBackAfterTheEndContinuesWhereItWas(t *testing.T) {
	s := start(t, "seq 100")
	job := s.run()
	first := s.watch(job, "", func(v *stream) bool { return len(v.lines) == 11 })
	s.watch(job, "", nil) // until the end
	rest := s.watch(job, first.id, nil)
	require.Equal(t, "11", rest.lines[0])
	require.Equal(t, "100", rest.lines[len(rest.lines)-1])
	require.Len(t, rest.lines, 90)
	require.Equal(t, []string{"ready", "ended"}, rest.events)
}

func TestABrowserThatHasSeenTheEndDoesNotComeBack(t *testing.T) {
	s := start(t, "echo")
	v := s.watch(s.run(), "", nil)
	require.Equal(t, http.StatusNoContent, s.watch("/jobs/any", v.id, nil).status)
}

func TestLongLinesComeInPieces(t *testing.T) {
	s := start(t, `printf 'é%.0s' $(seq 5000)`)
	v := s.watch(s.run(), "", nil)
	require.Greater(t, len(v.lines), 2)
	require.GreaterOrEqual(t, len(strings.Join(v.lines[1:], "")), 10_000)
}

func TestThereIsNoLogWithoutAJob(t *testing.T) {
	s := start(t, "echo")
	require.Equal(t, http.StatusNotFound, s.watch("/jobs/unknown", "", nil).status)
}

func TestAJobThatCannotBeginIsRefusedForNow(t *testing.T) {
	broker, err := broadcast.New[string](broadcast.WithHistory(1, 0), broadcast.WithMaxChats(1))
	require.NoError(t, err)
	defer broker.Close()
	refused := func(r *runner) {
		w := httptest.NewRecorder()
		r.start(w, httptest.NewRequest(http.MethodPost, "/jobs", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
	}
	refused(&runner{ctx: t.Context(), broker: broker, stopped: true}) // and there is a log
	refused(&runner{ctx: t.Context(), broker: broker})
}

func TestOtherSitesRunNothing(t *testing.T) {
	s := start(t, "echo")
	for header, want := range map[string]int{"Origin": http.StatusForbidden, "Host": http.StatusMisdirectedRequest} {
		r, err := http.NewRequest(http.MethodPost, s.url+"/jobs", nil)
		require.NoError(t, err)
		r.Header.Set(header, "https://evil.example")
		r.Host = r.Header.Get("Host")
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode)
	}
}

// The end of the service ends the jobs, and their watchers learn of it.
func TestTheEndOfTheServiceEndsTheJobs(t *testing.T) {
	s := start(t, "echo one; exec sleep 1000")
	job := s.run()
	begun, over := make(chan struct{}), make(chan *stream, 1)
	go func() {
		var once sync.Once
		over <- s.watch(job, "", func(v *stream) bool {
			if len(v.lines) == 2 {
				once.Do(func() { close(begun) })
			}
			return false
		})
	}()
	<-begun
	require.NoError(t, s.stop())
	v := <-over
	require.Contains(t, v.result, "signal: terminated")
}

// A service whose listener fails ends as on a signal, and does not wait for what its jobs do.
func TestAListenerThatFailsEndsTheJobs(t *testing.T) {
	ln := exampletest.Listen(t)
	served := make(chan error, 1)
	go func() { served <- serve(t.Context(), ln, []string{"sh", "-c", "exec sleep 1000"}) }()
	s := &service{t: t, url: "http://" + ln.Addr().String()}
	s.run()
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, ln.Close())
	require.ErrorIs(t, exampletest.Receive(t, "the end of the service", served), net.ErrClosed)
}

func TestAPageShowsTheLogOfItsJob(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, "seq 5; exit 3")
	tab := browsertest.Tab(t, b)
	tab.Do(chromedp.Navigate(s.url))
	tab.Until("(document.querySelector('button').click(), true)")
	tab.Until("document.getElementById('state').textContent.includes('exit status 3')")
	tab.Until(fmt.Sprintf("document.querySelector('pre').textContent === %q", "$ sh -c seq 5; exit 3\n1\n2\n3\n4\n5\n"))
}

func TestThePageIsAccessibleAndNeedsNoMouse(t *testing.T) {
	tab := browsertest.Tab(t, browsertest.Start(t))
	s := start(t, "seq 100")
	browsertest.EachLook(t, tab, func() {
		tab.Do(chromedp.Navigate(s.url))
		browsertest.TabTo(t, tab, "button")
		browsertest.Type(tab, " ")
		tab.Sees("#state", "Done")
		browsertest.Accessible(t, tab)
		browsertest.TabTo(t, tab, "main") // whose arrow keys scroll it
	})
}

func TestAPageComesBackWhenTheNetworkDoes(t *testing.T) {
	tab := browsertest.Tab(t, browsertest.Start(t))
	s := start(t, "i=0; while sleep 0.1; do i=$((i+1)); echo $i; done")
	browsertest.Hurry(t, tab)
	proxy := exampletest.NewProxy(t)
	proxy.To(strings.TrimPrefix(s.url, "http://"))
	tab.Do(chromedp.Navigate("http://" + proxy.Addr + "/#" + s.run()))
	tab.Sees("#state", "Running")
	proxy.Swallow(true)
	tab.Until("document.getElementById('state').textContent !== 'Running'")
	proxy.Swallow(false)
	tab.Sees("#state", "Running")
	tab.Until("document.querySelector('pre').textContent.split('\\n').length > 10")
	lines := browser.Value[[]string](tab, "document.querySelector('pre').textContent.trimEnd().split('\\n').slice(1)")
	for i, line := range lines {
		require.Equal(t, fmt.Sprint(i+1), line)
	}
}

func TestAPageSaysThatItsLogIsNoLongerKept(t *testing.T) {
	tab := browsertest.Tab(t, browsertest.Start(t))
	s := start(t, "echo one; exec sleep 1000")
	browsertest.Hurry(t, tab)
	proxy := exampletest.NewProxy(t)
	proxy.To(strings.TrimPrefix(s.url, "http://"))
	tab.Do(chromedp.Navigate("http://" + proxy.Addr + "/#" + s.run()))
	tab.Sees("#state", "Running")
	tab.Sees("pre", "one")
	proxy.To(strings.TrimPrefix(start(t, "echo two").url, "http://")) // as after a restart
	proxy.Cut()
	tab.Sees("#state", "no longer kept")
	tab.Sees("pre", "one")
	tab.Do(chromedp.Click(chromedp.CSS("button")))
	tab.Sees("#state", "Done")
	tab.Sees("pre", "two")
}

// Eight tabs of one browser, which opens six connections to a host at most.
func TestTabsThatAreHiddenKeepNoConnection(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, "echo one; exec sleep 1000")
	job := s.run()
	var tabs []*browser.Tab
	for range 8 {
		tab := browsertest.Tab(t, b)
		tab.Do(chromedp.Navigate(s.url + "/#" + job))
		tab.Sees("pre", "one")
		hide(tab, true)
		tabs = append(tabs, tab)
	}
	hide(tabs[0], false)
	tabs[0].Sees("#state", "Running")
	require.Equal(t, "$ sh -c echo one; exec sleep 1000\none\n", browser.Value[string](tabs[0], "document.querySelector('pre').textContent"))
	tabs[0].Do(chromedp.Click(chromedp.CSS("button")))
	tabs[0].Until(fmt.Sprintf("location.hash !== %q", "#"+job))
}

// hide does what the browser does when another tab covers this one, or no longer.
func hide(tab *browser.Tab, hidden bool) {
	tab.Until(fmt.Sprintf(`(Object.defineProperty(document, 'hidden', {value: %v, configurable: true}),
		document.dispatchEvent(new Event('visibilitychange')), true)`, hidden))
}

func TestItIsHealthyAndReady(t *testing.T) {
	s := start(t, "echo")
	for _, path := range []string{"/healthz", "/readyz"} {
		response, err := http.Get(s.url + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode, path)
	}
}
