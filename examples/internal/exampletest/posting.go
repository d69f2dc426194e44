package exampletest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

const good = `{"text":"a","by":7,"chat":1}`

// Posting checks that a service takes messages at POST /message, and nothing else there. accepted says how many it has taken.
func Posting(t *testing.T, s *Service, accepted func() int) {
	t.Run("a wrong method is answered 405 with Allow", func(t *testing.T) {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			a := s.Do(method, "/message", "")
			assert.Equal(t, http.StatusMethodNotAllowed, a.Status, method)
			assert.Equal(t, "POST", a.Header.Get("Allow"), method)
		}
	})
	t.Run("a wrong content type is answered 415", func(t *testing.T) { wrongTypes(t, s) })
	t.Run("a page of another site is answered 403", func(t *testing.T) {
		for _, foreign := range Foreign {
			a := s.Do(http.MethodPost, "/message", good, append(slices.Clone(foreign), "Content-Type", "application/json")...)
			assert.Equal(t, http.StatusForbidden, a.Status, "%v", foreign)
			assert.NotEmpty(t, a.Error)
		}
	})
	t.Run("what is not exactly one message is answered 400 naming the field", func(t *testing.T) { notOne(t, s) })
	t.Run("an id out of its range is answered 400 naming the limit", func(t *testing.T) { badIDs(t, s) })
	t.Run("an empty or overlong text is answered 400 naming the limit", func(t *testing.T) {
		for _, text := range []string{"", " \n\t", strings.Repeat("x", post.MaxText+1), strings.Repeat("é", post.MaxText/2) + "x"} {
			a := s.Say(text, 7, 1)
			assert.Equal(t, http.StatusBadRequest, a.Status)
			assert.Equal(t, "text", a.Field)
			assert.Contains(t, a.Error, fmt.Sprint(post.MaxText))
		}
	})
	t.Run("a body over 64 KiB is answered 413 naming the limit", func(t *testing.T) {
		for _, size := range []int{post.MaxBody + 1, 10 * post.MaxBody} {
			a := s.Post(padded(size))
			assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
			assert.Contains(t, a.Error, "65536")
		}
	})
	assert.Zero(t, accepted(), "what was refused was accepted")
	t.Run("what is as it should be is accepted", func(t *testing.T) {
		before := accepted()
		limit := int64(httpjson.MaxID)
		for i, body := range []string{good, " " + good + "\n", padded(post.MaxBody), fmt.Sprintf(`{"chat":%d,"by":%d,"text":"a"}`, limit, limit)} {
			a := s.Do(http.MethodPost, "/message", body, "Content-Type", "Application/JSON; charset=UTF-8", "Origin", "http://"+s.Addr)
			assert.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
			assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
			assert.Equal(t, before+i+1, accepted())
		}
	})
}

// Foreign is what browsers say of requests that pages of other sites make them send, as pairs of a name and a value.
var Foreign = [][]string{
	{"Sec-Fetch-Site", "cross-site"},
	{"Sec-Fetch-Site", "same-site"},
	{"Origin", "https://evil.example"},
	{"Origin", "null"},
	{"Origin", ":"},
}

// padded is a message in a body of so many bytes.
func padded(size int) string { return good + strings.Repeat(" ", size-len(good)) }

func wrongTypes(t *testing.T, s *Service) {
	for _, headers := range [][]string{
		{},
		{"Content-Type", "text/plain"},
		{"Content-Type", "application/x-www-form-urlencoded"},
		{"Content-Type", "application/json; charset=utf-16"},
		{"Content-Type", "application/json/x"},
		{"Content-Type", "application/json", "Content-Encoding", "gzip"},
	} {
		assert.Equal(t, http.StatusUnsupportedMediaType, s.Do(http.MethodPost, "/message", good, headers...).Status, "%v", headers)
	}
}

func notOne(t *testing.T, s *Service) {
	for field, bodies := range map[string][]string{
		"": {
			``, ` `, `null`, `7`, `"text"`, `[]`, `[` + good + `]`, `{`, `{"text"`, `{"text":`, `{"text":"a"`, `{"text":"a",`, `{7:"a"}`,
			`{"text":"a","by":7,"chat":1`, `{"text":"a","by":7,"chat":1]`, `{"text":"a" "by":7,"chat":1}`,
			"{\"text\":\"\xff\",\"by\":7,\"chat\":1}", good + good, good + ` {}`, good + ` 7`, good + `,`, good + `x`,
		},
		"to":     {`{"text":"a","by":7,"chat":1,"to":2}`, `{"to":{"a":[1,2]},"text":"a"}`},
		"Text":   {`{"Text":"a","by":7,"chat":1}`},
		"missed": {`{"text":"a","by":7,"chat":1,"missed":0}`},
		"at":     {`{"text":"a","by":7,"chat":1,"at":"2020-01-01T00:00:00Z"}`, `{"at":null,"text":"a","by":7,"chat":1}`},
		"seq":    {`{"text":"a","by":7,"chat":1,"seq":1}`},
		"id":     {`{"text":"a","by":7,"chat":1,"id":"x"}`},
		"text": {
			`{}`, `{"by":7,"chat":1}`, `{"text":7,"by":7,"chat":1}`, `{"text":null,"by":7,"chat":1}`, `{"text":["a"],"by":7,"chat":1}`,
			`{"text":"a","text":"b","by":7,"chat":1}`,
		},
		"by":   {`{"text":"a","chat":1}`, `{"text":"a","by":"7","chat":1}`, `{"text":"a","by":null,"chat":1}`},
		"chat": {`{"text":"a","by":7}`, `{"text":"a","by":7,"chat":true}`, `{"text":"a","by":7,"chat":1.5}`, `{"text":"a","by":7,"chat":1,"chat":2}`},
	} {
		for _, body := range bodies {
			a := s.Post(body)
			assert.Equal(t, http.StatusBadRequest, a.Status, "%s", body)
			assert.Equal(t, field, a.Field, "%s: %s", body, a.Error)
			assert.Contains(t, a.Error, field, "%s", body)
			if field == "at" || field == "seq" || field == "id" {
				assert.Contains(t, a.Error, "set by the server", "%s", body)
			}
		}
	}
	a := s.Post(`{"` + strings.Repeat("x", 1000) + `":1}`)
	assert.Equal(t, http.StatusBadRequest, a.Status)
	assert.Less(t, len(a.Body), 200, "quotes all of what the client sent")
}

func badIDs(t *testing.T, s *Service) {
	for _, bad := range []string{"0", "-1", "9007199254740992", "1e300", "1e3", "1.0", "99999999999999999999"} {
		for field, other := range map[string]string{"by": "chat", "chat": "by"} {
			a := s.Post(fmt.Sprintf(`{"text":"a","%s":%s,"%s":1}`, field, bad, other))
			assert.Equal(t, http.StatusBadRequest, a.Status, "%s %s", field, bad)
			assert.Equal(t, field, a.Field, "%s", bad)
			assert.Contains(t, a.Error, fmt.Sprint(int64(httpjson.MaxID)))
		}
	}
}
