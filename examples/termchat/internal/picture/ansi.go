package main

import (
	"fmt"
	"image/color"
	"iter"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
)

// Colours of a terminal that nobody has changed.
const (
	foreground = "#d8dee9"
	background = "#1b1f27"
)

// piece is text of one style, and the cells that it takes.
type piece struct {
	uv.Style
	text  string
	cells int
}

// parse takes a screen apart, as tmux writes it: lines of text, and sequences that change the style.
func parse(screen string) (lines [][]piece) {
	text := uv.NewStyledString(strings.TrimSuffix(screen, "\n"))
	size := text.Bounds()
	cells := uv.NewScreenBuffer(size.Dx(), size.Dy())
	text.Draw(cells, size)
	for _, line := range cells.Lines {
		var pieces []piece
		for _, cell := range line {
			if cell.Width == 0 {
				continue // it is the second half of a wide character
			}
			last := len(pieces) - 1
			if last < 0 || !pieces[last].Equal(&cell.Style) {
				pieces = append(pieces, piece{Style: cell.Style})
				last++
			}
			pieces[last].text += cell.Content
			pieces[last].cells += cell.Width
		}
		lines = append(lines, pieces)
	}
	return lines
}

// colours returns the colours that are seen. No background is that of the terminal.
func (p piece) colours() (fore, back string) {
	fore, back = hex(p.Fg, foreground), hex(p.Bg, "")
	if p.Attrs&uv.AttrReverse != 0 {
		return hex(p.Bg, background), fore
	}
	return fore, back
}

func hex(c color.Color, none string) string {
	if c == nil {
		return none
	}
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}

// runs divides a piece into what is drawn in one go, with the cells of each: words, and characters
// that are no letters.
func (p piece) runs() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		start, kind := 0, rune(0)
		for i, r := range p.text + "\x00" {
			k := rune('a')
			if strings.ContainsRune(" │█░\x00", r) {
				k = r
			}
			if k == kind {
				continue
			}
			if i > start && !yield(p.text[start:i], ansi.StringWidth(p.text[start:i])) {
				return
			}
			start, kind = i, k
		}
	}
}
