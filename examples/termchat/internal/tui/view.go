package tui

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

// How the screen is divided. From the top: the messages with the members beside them, the status
// line, the input.
const (
	membersFrom  = 72 // width of the screen from which the members are shown
	membersWidth = 18 // of their column, with the line that divides it from the messages
	barCells     = 12
)

// arrange divides the screen anew, after a change of its size.
func (m *model) arrange() {
	m.log.resize(m.width-m.aside(), m.height-2)
	m.input.SetWidth(max(1, m.width-len(m.input.Prompt)-1))
}

// aside is how wide the members are.
func (m *model) aside() int {
	if m.width < membersFrom {
		return 0
	}
	return membersWidth
}

// View draws the screen. No line is wider than it, and there are no more lines than it has.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.screen(), "\n"))
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "termchat " + m.room
	return v
}

func (m *model) screen() []string {
	if m.width <= 0 || m.height <= 0 {
		return nil
	}
	lines := m.body()
	if m.height >= 2 {
		lines = append(lines, m.status())
	}
	return append(lines, ansi.Truncate(m.input.View(), m.width, ""))
}

// body draws the messages, at the bottom of their place, and the members.
func (m *model) body() []string {
	height, shown := m.log.height, m.log.window()
	lines := make([]string, height-len(shown), height+2)
	lines = append(lines, shown...)
	if !m.log.following() && height > 0 {
		lines[height-1] = m.marker()
	}
	if m.aside() == 0 {
		return lines
	}
	for i, member := range m.memberLines(height) {
		pad := max(0, m.log.width-ansi.StringWidth(lines[i]))
		lines[i] += strings.Repeat(" ", pad) + m.styles.dim.Render("│") + " " + member
	}
	return lines
}

// marker is the last line of the messages while they are scrolled up.
func (m *model) marker() string {
	text := " ↓ Esc: back to the end "
	if n := m.log.unseen; n == 1 {
		text = " ↓ 1 new message below "
	} else if n > 1 {
		text = fmt.Sprintf(" ↓ %d new messages below ", n)
	}
	lead := strings.Repeat(" ", max(0, (m.log.width-ansi.StringWidth(text))/2))
	return ansi.Truncate(lead+m.styles.marker.Render(text), m.log.width, "")
}

// memberLines draws who is here, in exactly height lines.
func (m *model) memberLines(height int) []string {
	lines := make([]string, 0, height)
	if height > 0 {
		lines = append(lines, m.styles.dim.Render(fmt.Sprintf("%d here", len(m.members))))
	}
	for i, name := range m.members {
		if more := len(m.members) - i; len(lines) == height-1 && more > 1 {
			lines = append(lines, m.styles.dim.Render(fmt.Sprintf("+%d more", more)))
		}
		if len(lines) >= height {
			return lines
		}
		lines = append(lines, m.styles.of(name).Render(ansi.Truncate(name, membersWidth-3, "…")))
	}
	return append(lines, make([]string, height-len(lines))...)
}

// status draws the room, the own name, the connection and the file that is on its way.
func (m *model) status() string {
	s := &m.styles
	right := ""
	if m.moving != nil {
		right = s.bar.Render(ansi.Truncate(m.moving.bar(barCells), max(0, m.width-4), "…") + " ")
	}
	left := s.bar.Bold(true).Render(" #"+m.room) + s.bar.Render("  ") + m.connection() + s.bar.Render("  "+m.name)
	space := m.width - ansi.StringWidth(right)
	left = ansi.Truncate(left, max(0, space), "")
	return left + s.bar.Render(strings.Repeat(" ", max(0, space-ansi.StringWidth(left)))) + right
}

// connection draws how the connection is.
func (m *model) connection() string {
	var look lipgloss.Style
	sign, text := "●", m.state.String()
	switch m.state {
	case client.Online:
		look = m.styles.online
	case client.Connecting:
		look, sign = m.styles.waiting, "◌"
	case client.Offline:
		look, sign = m.styles.offline, "○"
		text = "offline, " + m.countdown()
	default:
		look, sign = m.styles.offline, "○"
	}
	return look.Render(sign + " " + text)
}

// countdown is the time until the connection is tried again.
func (m *model) countdown() string {
	left := m.retryAt.Sub(m.now)
	if left <= 0 {
		return "trying again"
	}
	return fmt.Sprintf("again in %d s", int((left+time.Second-1)/time.Second))
}
