package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

// progressEvery is how often progress is shown; a file tells it far more often.
const progressEvery = 50 * time.Millisecond

// A transfer is a file that is on its way. There is one at a time.
type transfer struct {
	what, name  string // "upload" or "download"; the file
	done, total int64
	cancel      context.CancelFunc
}

type (
	// progressMsg is how far a transfer has come.
	progressMsg struct {
		of          *transfer
		done, total int64
	}
	// arrivedMsg is the end of a transfer.
	arrivedMsg struct {
		of   *transfer
		file client.File
		err  error
	}
)

// move starts a transfer, unless there is one.
func (m *model) move(what, name string, run func(context.Context, func(done, total int64)) (client.File, error)) {
	if m.moving != nil {
		m.say(failed, m.moving.name+" is still on its way; /cancel stops it")
		return
	}
	t := &transfer{what: what, name: clean(name)}
	m.moving = t
	report := m.reporter(t)
	t.cancel = m.work.start(func(ctx context.Context) tea.Msg {
		file, err := run(ctx, report)
		return arrivedMsg{t, file, err}
	})
}

// reporter returns what a transfer calls as it goes on; it lets through one call in a while.
func (m *model) reporter(t *transfer) func(done, total int64) {
	var last atomic.Int64
	send := m.send
	return func(done, total int64) {
		now, before := time.Now().UnixNano(), last.Load()
		if now-before >= int64(progressEvery) && last.CompareAndSwap(before, now) {
			send(progressMsg{t, done, total})
		}
	}
}

func (m *model) progress(msg progressMsg) {
	if msg.of == m.moving {
		m.moving.done, m.moving.total = msg.done, msg.total
	}
}

// arrived tells what has come of a transfer. An upload that has worked comes back as an event
// besides.
func (m *model) arrived(msg arrivedMsg) {
	m.moving = nil
	t := msg.of
	switch {
	case errors.Is(msg.err, context.Canceled):
		m.say(aside, t.what+" of "+t.name+" cancelled")
	case msg.err != nil:
		m.say(failed, msg.err.Error())
	case t.what == "download":
		m.say(aside, "saved as "+t.name)
	default:
		m.say(aside, "uploaded "+t.name+" as "+msg.file.ID)
	}
}

// bar draws how far a transfer has come, with a bar of so many cells.
func (t *transfer) bar(cells int) string {
	sign := "↑"
	if t.what == "download" {
		sign = "↓"
	}
	if t.total <= 0 {
		return fmt.Sprintf("%s %s %s", sign, t.name, size(t.done))
	}
	part := max(0, min(1, float64(t.done)/float64(t.total)))
	full := int(part*float64(cells) + 0.5)
	return fmt.Sprintf("%s %s %s%s %d%%", sign, t.name, strings.Repeat("█", full), strings.Repeat("░", cells-full), int(part*100))
}
