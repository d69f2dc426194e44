package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

// maxFiles is how many shared files are remembered, for completion and for the names of downloads.
const maxFiles = 100

// event shows an event.
func (m *model) event(e *client.Event) {
	m.follow()
	name := clean(e.Name)
	switch e.Kind {
	case client.Message:
		m.log.add(&entry{kind: said, at: e.At, name: name, text: m.elsewhere(e) + clean(e.Text)})
	case client.Joined:
		m.log.add(&entry{kind: aside, at: e.At, text: m.elsewhere(e) + "→ " + name + " joined"})
		m.present(e)
	case client.Left:
		m.log.add(&entry{kind: aside, at: e.At, text: m.elsewhere(e) + "← " + name + " left"})
		m.present(e)
	case client.Members:
		m.present(e)
	case client.StateChanged:
		m.changed(e)
	case client.Missed:
		m.log.add(&entry{kind: gap, text: missed(e.Missed)})
	case client.FileShared:
		m.shared(e, name)
	case client.Notice:
		m.log.add(&entry{kind: aside, at: e.At, text: m.elsewhere(e) + clean(e.Text)})
	}
}

// elsewhere returns a mark for an event of a room that is not the current one: it was on its way
// when that room was left.
func (m *model) elsewhere(e *client.Event) string {
	if room := clean(e.Room); room != "" && room != m.room {
		return "[" + room + "] "
	}
	return ""
}

// present replaces the list of members, unless it is that of a room that was left.
func (m *model) present(e *client.Event) {
	if m.elsewhere(e) != "" {
		return
	}
	m.members = make([]string, len(e.Members))
	for i, name := range e.Members {
		m.members[i] = clean(name)
	}
}

// changed shows a change of the connection: its state in the status line, and in the messages why
// it was lost and that it is back.
func (m *model) changed(e *client.Event) {
	m.state, m.now = e.State, time.Now()
	m.retryAt = m.now.Add(e.Retry)
	switch e.State {
	case client.Offline:
		if why := reason(e.Err); why != m.lost { // which is said once while connecting fails
			m.say(failed, why)
			m.lost = why
		}
	case client.Online:
		if m.lost != "" {
			m.say(aside, "connected again")
		}
		m.lost = ""
	case client.Closed:
		m.say(failed, "the chat is over: "+reason(e.Err))
		m.say(aside, "/quit leaves")
	}
}

// reason returns an error in words.
func reason(err error) string {
	if err == nil {
		return "the connection has ended"
	}
	return err.Error()
}

// missed returns a line that says how many messages were missed.
func missed(n uint64) string {
	if n == 1 {
		return "— 1 message missed —"
	}
	return fmt.Sprintf("— %d messages missed —", n)
}

// shared shows that a file was shared, and remembers its name.
func (m *model) shared(e *client.Event, name string) {
	f := client.File{ID: clean(e.File.ID), Name: clean(e.File.Name), Size: e.File.Size}
	m.files = append(m.files, f)
	if over := len(m.files) - maxFiles; over > 0 {
		m.files = append(m.files[:0], m.files[over:]...)
	}
	text := fmt.Sprintf("%s%s (%s)  /download %s", m.elsewhere(e), f.Name, size(f.Size), f.ID)
	m.log.add(&entry{kind: shared, at: e.At, name: name, text: text})
}

// size formats a number of bytes for people.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	const units = "kMGTPE"
	v, unit := float64(n)/1000, 0
	for v >= 999.95 && unit < len(units)-1 {
		v, unit = v/1000, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + units[unit:unit+1] + "B"
}
