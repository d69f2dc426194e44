package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

func TestAnAcceptedMessageIsStampedByTheServerAndReachesTheChat(t *testing.T) {
	s := start(t, nil)
	w, other := s.watch("ann", "general", ""), s.watch("ann", "other", "")
	require.Equal(t, "ready", w.next().Event)
	before := time.Now().Add(-time.Second)
	const text = "Grüße \"<b>\" & \\ \n\t🙂 \u2028"
	a := s.say("bob", "general", text)
	require.Equal(t, http.StatusAccepted, a.Status)
	assert.JSONEq(t, `{"by":"bob","chat":"general"}`, a.Body)
	f := w.next()
	assert.WithinRange(t, f.Message.At, before, time.Now())
	assert.Equal(t, text, f.Message.Text)
	assert.Equal(t, "bob", f.Message.By)
	assert.Equal(t, uint64(1), f.Seq)
	assert.NotEmpty(t, f.Position)
	s.mustSay("bob", "other", "elsewhere")
	assert.Equal(t, []string{"ready[ann/1]", "elsewhere"}, other.told(2))
}

func TestWhatIsNoMessageIsAnswered400NamingTheField(t *testing.T) {
	s := start(t, nil)
	for field, bodies := range map[string][]string{
		"body": {``, `null`, `7`, `[]`, `{"text":"a"`, `{"text":"a"}{}`, `{"text":"a"} x`},
		"text": {
			`{}`, `{"text":7}`, `{"text":null}`, `{"text":""}`, `{"text":" \n\t"}`, `{"text":"a","text":"b"}`, "{\"text\":\"\xff\"}", `{"text":"a\u0000"}`, `{"text":"\u001b[2J"}`,
			`{"text":"a\ud800b"}`, `{"text":"\udc00"}`, `{"text":"\ud83d\ud83d\ude42"}`, `{"text":"\ud83d"}`,
			// What looks empty is empty.
			`{"text":"\u034f"}`, `{"text":"\u200b\u2060"}`, `{"text":"\u3164 \u2800"}`, `{"text":"\u115f\u1160\uffa0"}`, `{"text":"\ufe0f"}`,
			`{"text":"\ud834\udd59"}`, `{"text":"\u180b\u17b4"}`, `{"text":"\udb40\udd00"}`, `{"text":"\u00a0\u3000"}`,
			`{"text":"` + strings.Repeat("x", maxText+1) + `"}`,
		},
		"Text": {`{"Text":"a"}`},
		"by":   {`{"text":"a","by":"bob"}`},
		"at":   {`{"text":"a","at":"2020-01-01T00:00:00Z"}`},
	} {
		for _, body := range bodies {
			a := s.postBody("ann", "general", body)
			assert.Equal(t, http.StatusBadRequest, a.Status, "%s", body)
			assert.Contains(t, a.Error, field, "%s", body)
		}
	}
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.postBody("ann", "general", strings.Repeat(" ", maxBody+1)).Status)
	assert.Equal(t, http.StatusUnsupportedMediaType, s.postBody("ann", "general", `{"text":"a"}`, "Content-Type", "text/plain").Status)
	assert.Zero(t, s.broker.Stats().Accepted)
	for _, body := range []string{`{"text":"\ud83d\ude42"}`, `{"text":"\\ud800"}`, `{"text":"\ud83d\ude42\ud83d\ude42\u0041"}`} {
		assert.Equal(t, http.StatusAccepted, s.postBody("ann", "general", body).Status, body)
	}
}

func TestAWrongMethodIsAnswered405WithAllow(t *testing.T) {
	s := start(t, nil)
	for path, allow := range map[string]string{
		"/": "GET, HEAD", "/logout": "POST", "/readyz": "GET, HEAD", "/chats/general/messages": "POST", "/chats/general/socket": "GET, HEAD",
	} {
		a := s.Do(http.MethodDelete, path, "")
		assert.Equal(t, http.StatusMethodNotAllowed, a.Status, path)
		assert.Equal(t, allow, a.Header.Get("Allow"), path)
	}
	assert.Equal(t, http.StatusNotFound, s.Do(http.MethodGet, "/nowhere", "").Status)
}

func TestNamesThatLookAlikeAreOneAndInvisibleOnesAreRefused(t *testing.T) {
	s := start(t, nil)
	for _, name := range []string{
		"ann\u034f", "ann\ufe0e", "ann\ufe0f", "ann\U000e0100", "ann\u180b", "ann\u17b4", "\u3164", "\uffa0", "\u115f", "\u1160", "\u2800",
		"\U0001d159", "a\u2800b", "", "  ", "a\nb", "a\u202eb", "\u0301", "a\x00", strings.Repeat("x", 41), "a\u200bb", "\ufeffann",
	} {
		body := fmt.Sprintf("{\"name\":%q}", name)
		if strings.ContainsAny(name, "\x00\n") {
			body = strings.NewReplacer(`\x00`, `\u0000`).Replace(body)
		}
		_, status, _ := s.login(strings.ReplaceAll(body, `\U000`, `\u`))
		assert.Equal(t, http.StatusBadRequest, status, "%+q", name)
		_, err := s.key.Issue(name, time.Hour)
		assert.Error(t, err, "%+q", name)
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound, http.StatusTemporaryRedirect}, s.say("ann", name, "a").Status, "a chat %+q", name)
	}
	for given, want := range map[string]string{
		"e\u0301ric": "éric", "éric": "éric", " ann  b ": "ann b", "ﬁ": "fi", "AC/DC": "AC/DC", "日本語": "日本語", "ann> ok. <bob": "ann> ok. <bob",
	} {
		who, status, _ := s.login(fmt.Sprintf("{\"name\":%q}", given))
		assert.Equal(t, http.StatusOK, status, "%+q", given)
		assert.Equal(t, want, who.Name)
	}
	w := s.watch("ann", "caf\u00e9", "")
	s.mustSay("bob", "cafe\u0301", "to the same chat")
	assert.Equal(t, []string{"ready[ann/1]", "to the same chat"}, w.told(2))
}

func TestARetryWithTheSameKeyIsAcceptedOnce(t *testing.T) {
	s := start(t, nil)
	for range 3 {
		assert.Equal(t, http.StatusAccepted, s.say("ann", "general", "once", "Idempotency-Key", "k1").Status)
	}
	s.say("ann", "general", "twice", "Idempotency-Key", "k2")
	s.say("bob", "general", "by another", "Idempotency-Key", "k1")
	assert.Equal(t, http.StatusBadRequest, s.say("ann", "general", "no key", "Idempotency-Key", strings.Repeat("k", 65)).Status)
	w := s.watch("ann", "general", "")
	w.next()
	assert.Equal(t, []string{"once", "twice", "by another"}, w.told(3))
	assert.Equal(t, uint64(3), s.broker.Stats().Accepted)
}

func TestAPostThatPanicsMayBeRepeated(t *testing.T) {
	s := newService(t, nil)
	defer s.Close()
	assert.Panics(t, func() { _ = s.once("ann\nk1", func() error { panic("bad") }) })
	assert.NoError(t, s.once("ann\nk1", func() error { return nil }))
}

func TestARetryWhileTheFirstPostIsInProgressWaitsForItsResult(t *testing.T) {
	for _, result := range []error{nil, errors.New("refused")} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t, nil)
			defer s.Close()
			calls, goOn := 0, make(chan struct{})
			var posts sync.WaitGroup
			for range 2 {
				posts.Go(func() {
					assert.Equal(t, result, s.once("ann\nk1", func() error {
						calls++
						<-goOn
						return result
					}))
				})
			}
			synctest.Wait()
			close(goOn)
			posts.Wait()
			assert.Equal(t, 1, calls)
			_ = s.once("ann\nk1", func() error { calls++; return nil })
			assert.Equal(t, result != nil, calls == 2, "only one that was not accepted is repeated")
		})
	}
}

func TestWhoPostsTooFastIsAnswered429WithRetryAfterAndOthersAreNot(t *testing.T) {
	s := start(t, func(c *Config) { c.PostRate, c.Burst = 0.001, 3 })
	s.mustSay("ann", "general", "1", "2", "3")
	a := s.say("ann", "general", "4")
	assert.Equal(t, http.StatusTooManyRequests, a.Status)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	s.mustSay("bob", "general", "1")
	assert.Equal(t, uint64(4), s.broker.Stats().Accepted)
}

func TestAPostWhoseBodyIsStillArrivingAtTheEndGetsItsAnswer(t *testing.T) {
	s := start(t, nil)
	conn := s.Connect()
	_, err := fmt.Fprintf(conn, "POST /chats/general/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Authorization: Bearer %s\r\nContent-Length: 12\r\n\r\n{\"tex", s.token("ann"))
	require.NoError(t, err)
	exampletest.Soon(t, "the server reads the body", func() bool { // it has another connection then, which is idle
		return s.Do(http.MethodGet, "/healthz", "").Status == http.StatusOK
	})
	s.End()
	time.Sleep(1500 * time.Millisecond) // on the real clock, because a network that is slow is meant
	_, err = fmt.Fprint(conn, `t":"a"}`)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, "it was closed without an answer")
	assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	assert.NotEmpty(t, res.Header.Get("Retry-After"))
	require.NoError(t, s.Done())
}

func TestSlowHeadersAndBodiesAreCut(t *testing.T) {
	s := start(t, func(c *Config) { c.BodyTimeout = 100 * time.Millisecond })
	for _, begin := range []string{"", "GET / HTTP/1.1\r\n", "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"} {
		conn := s.Connect()
		_, err := fmt.Fprint(conn, begin)
		require.NoError(t, err)
		exampletest.Ended(t, conn)
	}
}

// answerTo is what a handler answers to a body.
func answerTo(h http.Handler, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestABodyThatDoesNotComeIsNotRead(t *testing.T) {
	h := httpjson.Handler(func(w http.ResponseWriter, r *http.Request) error {
		_, err := readText(w, r, "a")
		return err
	})
	w := answerTo(h, iotest.ErrReader(os.ErrDeadlineExceeded))
	assert.Equal(t, http.StatusRequestTimeout, w.Code)
	assert.Equal(t, "close", w.Header().Get("Connection"))
	assert.Equal(t, http.StatusBadRequest, answerTo(h, iotest.ErrReader(io.ErrUnexpectedEOF)).Code)
	assert.Equal(t, http.StatusRequestEntityTooLarge, answerTo(h, strings.NewReader(strings.Repeat(" ", maxBody)+`{"a":"1"}`)).Code)
	assert.Equal(t, http.StatusOK, answerTo(h, strings.NewReader(`{"a":"12"}`)).Code)
}

// textIn is the text of the field a in a body.
func textIn(body string) (string, error) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return readText(httptest.NewRecorder(), r, "a")
}

func TestHalfOfASurrogatePairIsRefusedAndAWholeOneIsNot(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":"\ud83d\ude42"}`: "🙂", `{"a":"\uD83D\uDE42x"}`: "🙂x", `{"a":"\\ud800"}`: `\ud800`, `{"a":"\\\\ud800"}`: `\\ud800`,
		`{"a":"\ud7ff\ue000\u0041"}`: "\ud7ff\ue000A", `{"a":"é\n\ufffd"}`: "é\n\ufffd",
	} {
		text, err := textIn(body)
		require.NoError(t, err, body)
		assert.Equal(t, want, text)
	}
	for _, body := range []string{
		`{"a":"\ud800"}`, `{"a":"a\uDBFFb"}`, `{"a":"\udc00"}`, `{"a":"\ud83d\ud83d\ude42"}`, `{"a":"\ude42\ud83d"}`, `{"a":"\\\ud800"}`,
		`{"a":"\ud83d\u0041"}`, `{"a":"\ud83d\n"}`, `{"a":"\ud83d\\ude42"}`,
	} {
		_, err := textIn(body)
		assert.ErrorContains(t, err, "UTF-8", body)
	}
}

func TestALongFieldOfAClientIsNotRepeatedWhole(t *testing.T) {
	_, err := textIn(`{"` + strings.Repeat("x", 1000) + `":"a"}`)
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 100)
}
