package post_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
	"github.com/fbd86cad/broadcast/examples/internal/sameorigin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMessagesAreReadAndNothingElse(t *testing.T) {
	var read []post.Message
	mux := http.NewServeMux()
	mux.Handle("/message", httpjson.Only(func(w http.ResponseWriter, r *http.Request) error {
		m, err := post.Read(w, r)
		if err == nil {
			read = append(read, m)
			httpjson.Write(w, http.StatusAccepted, nil)
		}
		return err
	}, http.MethodPost))
	server := httptest.NewServer(sameorigin.New().Handler(mux))
	defer server.Close()
	s := exampletest.At(t, strings.TrimPrefix(server.URL, "http://"))
	exampletest.Posting(t, s, func() int { return len(read) })

	longest := strings.Repeat("\x01", post.MaxText) // six bytes each as JSON
	s.MustSay(longest, 7, 3)
	assert.Equal(t, post.Message{Text: longest, By: 7, Chat: 3}, read[len(read)-1])
}
