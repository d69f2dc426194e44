package tui

import (
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// An entryKind determines how an entry looks.
type entryKind int

const (
	said   entryKind = iota // name wrote text
	shared                  // name has shared a file
	aside                   // joins, leaves, notices and answers to commands: dim
	gap                     // messages that are missing here
	failed                  // something did not work
)

// An entry is one item in the list of messages. Its texts are clean.
type entry struct {
	kind  entryKind
	at    time.Time // zero: not shown
	name  string    // said, shared
	text  string
	lines []string // as last laid out; owned by scrollback
}

// The columns left of a text: the time, a name flushed right, a bar. Narrow screens have none of
// them.
const (
	timeWidth   = 5
	nameWidth   = 10
	gutterWidth = timeWidth + 1 + nameWidth + 3
	columnsFrom = 56 // width from which there are columns
)

// layout returns an entry as lines no wider than width, which must be positive.
func (e *entry) layout(width int, s *styles) []string {
	if e.kind == gap {
		return []string{ansi.Truncate(s.missed.Render(centred(e.text, width)), width, "")}
	}
	first, rest := e.gutter(width, s)
	lines := strings.Split(ansi.Wrap(e.text, max(4, width-ansi.StringWidth(first)), ""), "\n")
	look := e.look(s)
	for i, line := range lines {
		lead := rest
		if i == 0 {
			lead = first
		}
		lines[i] = ansi.Truncate(lead+look.Render(line), width, "")
	}
	return lines
}

// look returns the style of the text.
func (e *entry) look(s *styles) lipgloss.Style {
	switch e.kind {
	case shared:
		return s.file
	case aside:
		return s.dim
	case failed:
		return s.failed
	default:
		return s.text
	}
}

// gutter returns what is to the left of the first line and of each further line.
func (e *entry) gutter(width int, s *styles) (first, rest string) {
	if width < columnsFrom {
		if e.name == "" {
			return "", ""
		}
		return s.of(e.name).Render(ansi.Truncate(e.name, max(1, width/2), "…")) + " ", " "
	}
	clock := strings.Repeat(" ", timeWidth)
	if !e.at.IsZero() {
		clock = e.at.Local().Format("15:04")
	}
	name := ansi.Truncate(e.name, nameWidth, "…")
	pad := strings.Repeat(" ", nameWidth-ansi.StringWidth(name))
	bar := s.dim.Render("│")
	rest = strings.Repeat(" ", timeWidth+1+nameWidth+1) + bar + " "
	return s.dim.Render(clock) + " " + pad + s.of(e.name).Render(name) + " " + bar + " ", rest
}

// centred returns a text centred in a line.
func centred(text string, width int) string {
	return strings.Repeat(" ", max(0, (width-ansi.StringWidth(text))/2)) + text
}
