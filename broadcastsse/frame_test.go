package broadcastsse

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// lines ends a line as an EventSource does.
var lines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// parse returns the events of a stream by name and data, as the HTML standard says.
func parse(text string) (names, data []string) {
	name, value, has := "", "", false
	for line := range strings.SplitSeq(lines.Replace(text), "\n") {
		field, content, _ := strings.Cut(line, ":")
		content = strings.TrimPrefix(content, " ")
		switch {
		case line == "":
			if has {
				names, data = append(names, name), append(data, strings.TrimSuffix(value, "\n"))
			}
			name, value, has = "", "", false
		case field == "event":
			name = content
		case field == "data":
			value, has = value+content+"\n", true
		}
	}
	return names, data
}

// Promise 82.
func FuzzAnEventIsReadAsItWasWritten(f *testing.F) {
	for _, payload := range []string{"", "a", "\n", "\r", "\r\n", "\n\r", "a\nb", "\n\ndata: forged\n\n", " a", ":", "id: x", "\x00\xff"} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		f := framer{time.Second}
		text := f.AppendMessage([]byte("event: before\ndata: x\n\n"), []byte(payload), broadcast.Position{})
		text = f.AppendEvent(text, []byte(payload), stream.Event{Kind: stream.Joined})
		text = f.AppendEvent(text, []byte(payload), stream.Event{Kind: stream.Ready})
		names, data := parse(string(text))
		want := lines.Replace(payload)
		require.Equal(t, []string{"before", "", "joined", "ready"}, names)
		require.Equal(t, []string{"x", want, want, want}, data)
	})
}

// Promise 88.
func TestOnlyAnEndThatMustNotBeResumedHasAnID(t *testing.T) {
	for reason, id := range map[error]string{
		broadcast.ErrReplaced: "replaced", broadcast.ErrKicked: "kicked", broadcast.ErrEnded: "ended",
		fmt.Errorf("%w: for spam", broadcast.ErrKicked): "kicked",
		broadcast.ErrSlow: "", broadcast.ErrBrokerClosed: "", stream.ErrDrained: "", errors.New("other"): "",
	} {
		text := string(framer{time.Second}.AppendEvent(nil, nil, stream.Event{Kind: stream.Ended, Err: reason}))
		want := "event: ended\ndata: \n\n"
		if id != "" {
			want = "id: " + id + "\n" + want
			assert.True(t, isTerminal(id))
		}
		assert.Equal(t, want, text)
	}
}
