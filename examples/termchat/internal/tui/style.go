package tui

import (
	"hash/fnv"
	"strconv"

	"charm.land/lipgloss/v2"
)

// styles are all the looks of the screen. Colours are from the 256 that are readable on dark and on
// light; a terminal that has fewer gets the nearest.
type styles struct {
	text, name, dim, missed, failed, file lipgloss.Style
	bar, online, waiting, offline         lipgloss.Style
	marker                                lipgloss.Style
	coloured                              bool
}

// nameColours are what names are told apart by.
var nameColours = [...]int{136, 131, 71, 64, 166, 162, 174, 37, 68, 99, 33}

// newStyles returns the looks for a terminal with or without colours. Without, weight and reversal
// must do.
func newStyles(coloured bool) styles {
	plain := lipgloss.NewStyle()
	s := styles{
		text: plain, name: plain.Bold(true), dim: plain.Faint(true), missed: plain.Bold(true),
		failed: plain.Bold(true), file: plain.Underline(true),
		bar: plain.Reverse(true), online: plain.Reverse(true), waiting: plain.Reverse(true), offline: plain.Reverse(true).Bold(true),
		marker: plain.Reverse(true), coloured: coloured,
	}
	if !coloured {
		return s
	}
	grey, back := lipgloss.Color("245"), lipgloss.Color("237")
	s.dim = plain.Foreground(grey)
	s.missed = plain.Bold(true).Foreground(lipgloss.Color("172"))
	s.failed = plain.Foreground(lipgloss.Color("167"))
	s.file = plain.Foreground(lipgloss.Color("73"))
	s.bar = plain.Background(back).Foreground(lipgloss.Color("252"))
	s.online = s.bar.Foreground(lipgloss.Color("114"))
	s.waiting = s.bar.Foreground(lipgloss.Color("179"))
	s.offline = s.bar.Foreground(lipgloss.Color("210")).Bold(true)
	s.marker = plain.Bold(true).Background(lipgloss.Color("24")).Foreground(lipgloss.Color("255"))
	return s
}

// of returns the look of a name: the same name has the same colour on every screen.
func (s *styles) of(name string) lipgloss.Style {
	if !s.coloured {
		return s.name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return s.name.Foreground(lipgloss.Color(strconv.Itoa(nameColours[h.Sum32()%uint32(len(nameColours))])))
}
