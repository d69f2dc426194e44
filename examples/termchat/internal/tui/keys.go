package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// wheelLines is how far one click of the mouse wheel scrolls.
const wheelLines = 3

// key does what a key is for. What is none of the screen's is the input line's.
func (m *model) key(msg tea.KeyPressMsg) tea.Cmd {
	switch msg.String() {
	case "ctrl+c":
		return tea.Quit
	case "ctrl+d":
		if m.input.Value() == "" {
			return tea.Quit
		}
		return m.edit(msg)
	case "ctrl+z":
		return tea.Suspend
	case "ctrl+l":
		return tea.ClearScreen
	case "enter":
		return m.enter()
	case "esc":
		m.escape()
	case "tab":
		m.complete()
	case "up", "ctrl+p":
		m.replace(m.recall.back(m.input.Value()))
	case "down", "ctrl+n":
		m.replace(m.recall.forth(m.input.Value()))
	case "pgup":
		m.log.scroll(m.page())
	case "pgdown":
		m.log.scroll(-m.page())
	case "ctrl+home":
		m.log.scroll(m.log.total)
	case "ctrl+end":
		m.log.scroll(-m.log.total)
	default:
		return m.edit(msg)
	}
	return nil
}

// edit lets the input line have a key or a paste.
func (m *model) edit(msg tea.Msg) (cmd tea.Cmd) {
	m.input, cmd = m.input.Update(msg)
	return cmd
}

// paste puts text where the cursor is, unless the line would be longer than a message may be.
func (m *model) paste(text string) tea.Cmd {
	if n := len(m.input.Value()) + len(text); n > wire.MaxText {
		m.say(failed, fmt.Sprintf("not pasted: the line would have %d bytes, and a message has %d at most", n, wire.MaxText))
		return nil
	}
	return m.edit(tea.PasteMsg{Content: text})
}

// replace puts another line into the input.
func (m *model) replace(line string) {
	m.input.SetValue(line)
	m.input.CursorEnd()
}

// enter takes the line that was typed: a command if it begins with a slash, and a message
// otherwise.
func (m *model) enter() tea.Cmd {
	line := strings.TrimSpace(m.input.Value())
	m.input.Reset()
	m.log.end()
	if line == "" {
		return nil
	}
	m.recall.add(line)
	if strings.HasPrefix(line, "/") && !strings.HasPrefix(line, "//") {
		return m.command(line)
	}
	m.sendLine(strings.TrimPrefix(line, "/"))
	return nil
}

// escape cancels the file that is on its way, or else goes back to the end of the messages.
func (m *model) escape() {
	if m.moving != nil {
		m.moving.cancel()
		return
	}
	m.log.end()
}

// page is how far a page key scrolls: one line of the old page stays in sight, above the marker.
func (m *model) page() int { return max(1, m.log.height-2) }

// wheel scrolls with the mouse.
func (m *model) wheel(msg tea.MouseWheelMsg) {
	switch msg.Button {
	case tea.MouseWheelUp:
		m.log.scroll(wheelLines)
	case tea.MouseWheelDown:
		m.log.scroll(-wheelLines)
	}
}
