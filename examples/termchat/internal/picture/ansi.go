package main

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Colours of a terminal that nobody has changed.
const (
	foreground = "#d8dee9"
	background = "#1b1f27"
)

// look is how a piece of a line is written. Empty colours are the terminal's.
type look struct {
	fore, back                     string
	bold, faint, italic, underline bool
	reverse                        bool
}

// colours returns the colours that are seen.
func (l look) colours() (fore, back string) {
	fore, back = l.fore, l.back
	if fore == "" {
		fore = foreground
	}
	if l.reverse {
		if back == "" {
			back = background
		}
		return back, fore
	}
	return fore, back
}

// piece is text of one look, and the cells that it takes.
type piece struct {
	look
	text  string
	cells int
}

// parse takes a screen apart, as tmux writes it: lines of text, and sequences that change the look.
func parse(screen string) [][]piece {
	var lines [][]piece
	var now look
	for line := range strings.SplitSeq(strings.TrimSuffix(screen, "\n"), "\n") {
		var pieces []piece
		for line != "" {
			text, rest, found := strings.Cut(line, "\x1b[")
			if text != "" {
				pieces = append(pieces, piece{now, text, ansi.StringWidth(text)})
			}
			if found {
				codes, after, _ := strings.Cut(rest, "m")
				now.change(strings.Split(codes, ";"))
				rest = after
			}
			line = rest
		}
		lines = append(lines, pieces)
	}
	return lines
}

// change does what the codes of one sequence say.
func (l *look) change(codes []string) {
	for i := 0; i < len(codes); i++ {
		n, _ := strconv.Atoi(codes[i]) // none is 0
		switch {
		case n == 0:
			*l = look{}
		case n == 1:
			l.bold = true
		case n == 2:
			l.faint = true
		case n == 3:
			l.italic = true
		case n == 4:
			l.underline = true
		case n == 7:
			l.reverse = true
		case n == 22:
			l.bold, l.faint = false, false
		case n == 23:
			l.italic = false
		case n == 24:
			l.underline = false
		case n == 27:
			l.reverse = false
		case n >= 30 && n <= 37, n >= 90 && n <= 97:
			l.fore = indexed(n%10 + n/90*8)
		case n == 39:
			l.fore = ""
		case n >= 40 && n <= 47, n >= 100 && n <= 107:
			l.back = indexed(n%10 + n/100*8)
		case n == 49:
			l.back = ""
		case n == 38 || n == 48:
			colour, used := extended(codes[i+1:])
			if i += used; n == 38 {
				l.fore = colour
			} else {
				l.back = colour
			}
		}
	}
}

// extended returns the colour that codes begin with, after 38 or 48, and how many of them it takes.
func extended(codes []string) (colour string, used int) {
	number := func(i int) int {
		n, _ := strconv.Atoi(codes[i])
		return n
	}
	switch {
	case len(codes) >= 2 && codes[0] == "5":
		return indexed(number(1)), 2
	case len(codes) >= 4 && codes[0] == "2":
		return fmt.Sprintf("#%02x%02x%02x", number(1), number(2), number(3)), 4
	}
	return "", len(codes)
}

// basic are the first 16 of the 256 colours, which every terminal has its own of.
var basic = [...]string{
	"#2e3440", "#bf616a", "#a3be8c", "#ebcb8b", "#81a1c1", "#b48ead", "#88c0d0", "#e5e9f0",
	"#4c566a", "#d08770", "#b1d196", "#f0d399", "#8cafd2", "#c895bf", "#93ccdc", "#eceff4",
}

// indexed is one of the 256 colours: 16, a cube, and greys.
func indexed(n int) string {
	switch {
	case n < 0 || n > 255:
		return ""
	case n < len(basic):
		return basic[n]
	case n >= 232:
		grey := 8 + 10*(n-232)
		return fmt.Sprintf("#%02x%02x%02x", grey, grey, grey)
	}
	steps := [...]int{0, 95, 135, 175, 215, 255}
	n -= 16
	return fmt.Sprintf("#%02x%02x%02x", steps[n/36], steps[n/6%6], steps[n%6])
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
