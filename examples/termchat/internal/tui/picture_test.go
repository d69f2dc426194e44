package tui

import (
	"encoding/xml"
	"flag"
	"fmt"
	"html"
	"image/color"
	"io"
	"iter"
	"os"
	"strings"
	"testing"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

var update = flag.Bool("update", false, "renew the picture of the screen instead of comparing it")

const pictureFile = "../../termchat.svg"

// The picture in the README is what the screen shows.
func TestThePictureInTheREADMEIsTheScreen(t *testing.T) {
	picture := draw(parse(play(t).View().Content), "termchat — #general")
	if *update {
		require.NoError(t, os.WriteFile(pictureFile, []byte(picture), 0o644))
	}
	kept, err := os.ReadFile(pictureFile)
	require.NoError(t, err)
	assert.True(t, string(kept) == picture, "it has changed: go test -run Picture -update renews it")
}

// play has people talk, and returns ann's screen while she uploads something.
func play(t *testing.T) *screen {
	s := newScreen(t, 96, 18)
	clock := time.Date(2026, 11, 2, 9, 41, 0, 0, time.Local)
	at := func(e client.Event) {
		clock = clock.Add(40 * time.Second)
		e.Room, e.At = "general", clock
		s.happens(e)
	}
	says := func(name, text string) { at(client.Event{Kind: client.Message, Name: name, Text: text}) }
	s.happens(state(client.Online), present("ann"))
	at(client.Event{Kind: client.Joined, Name: "bob", Members: []string{"ann", "bob"}})
	at(client.Event{Kind: client.Joined, Name: "dora", Members: []string{"ann", "bob", "dora"}})
	at(client.Event{Kind: client.Joined, Name: "carl", Members: []string{"ann", "bob", "carl", "dora"}})
	says("bob", "morning! did anybody look at the new office?")
	says("dora", "yes, yesterday. it is bright, and the kitchen is huge")
	says("ann", "then we need a plan of who sits where before everything is in boxes")
	at(client.Event{Kind: client.FileShared, Name: "dora", File: client.File{ID: "c4ca4238a0b923820dcc509a6f", Name: "floorplan.pdf", Size: 1_834_211}})
	says("carl", "I take any desk that is far from the printer. the last one beeped at me for three years, and I still hear it in my sleep")
	says("bob", "ann: is the demo still on for today?")
	says("ann", "at two. here is the recording of the last one")
	at(client.Event{Kind: client.Left, Name: "carl", Members: []string{"ann", "bob", "dora"}})
	s.typed("/upload demo.mp4")
	s.update(progressMsg{s.moving, 60, 100})
	s.keys("mind the first minute, it")
	return s
}

// The default colours of the terminal.
const (
	ink   = "#d8dee9"
	paper = "#1b1f27"
)

// piece is text of one style, and the cells that it takes.
type piece struct {
	uv.Style
	text  string
	cells int
}

// parse splits a screen into pieces. It has lines of text, and sequences that change the style.
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

// colours returns the visible colours. An empty background is that of the terminal.
func (p piece) colours() (fore, back string) {
	fore, back = hex(p.Fg, ink), hex(p.Bg, "")
	if p.Attrs&uv.AttrReverse != 0 {
		return hex(p.Bg, paper), fore
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

// runs divides a piece into runs that are drawn at once, with their cells: words, and characters
// that are not letters.
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

// Sizes in pixels.
const (
	cellWidth, cellHeight = 8.4, 18.0
	baseline              = 13.5 // of a line, from its top
	margin                = 14.0
	titleHeight           = 34.0
)

// draw returns a window with lines in it, as SVG.
func draw(lines [][]piece, title string) string {
	cells := 0
	for _, line := range lines {
		n := 0
		for _, p := range line {
			n += p.cells
		}
		cells = max(cells, n)
	}
	var b strings.Builder
	frame(&b, float64(cells)*cellWidth+2*margin, titleHeight+float64(len(lines))*cellHeight+margin, title)
	for i, line := range lines {
		x, y := margin, titleHeight+float64(i)*cellHeight
		for _, p := range line {
			p.draw(&b, x, y)
			x += float64(p.cells) * cellWidth
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// frame draws the window.
func frame(b *strings.Builder, width, height float64, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img" aria-label="%s"`+
		` font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14">`+"\n", width, height, width, height, html.EscapeString(title))
	fmt.Fprintf(b, `<rect width="%.0f" height="%.0f" rx="9" fill="%s"/>`+"\n", width, height, paper)
	for i, colour := range []string{"#ec6a5e", "#f4bf4f", "#61c554"} {
		fmt.Fprintf(b, `<circle cx="%d" cy="17" r="5.5" fill="%s"/>`+"\n", 20+19*i, colour)
	}
	fmt.Fprintf(b, `<text x="%.0f" y="21.5" fill="#8a93a5" font-size="13" text-anchor="middle">%s</text>`+"\n", width/2, html.EscapeString(title))
}

// draw draws a piece at a place. What fills its cell, or joins the line above, is drawn as such:
// letters would leave gaps.
func (p piece) draw(b *strings.Builder, x, y float64) {
	fore, back := p.colours()
	if back != "" {
		rect(b, x, y, float64(p.cells)*cellWidth, cellHeight, back, 1)
	}
	for text, cells := range p.runs() {
		w := float64(cells) * cellWidth
		switch []rune(text)[0] {
		case ' ':
		case '│':
			for i := range cells {
				rect(b, x+(float64(i)+0.5)*cellWidth-0.5, y, 1, cellHeight, fore, 0.55)
			}
		case '█':
			rect(b, x, y+3, w, cellHeight-6, fore, 0.9)
		case '░':
			rect(b, x, y+3, w, cellHeight-6, fore, 0.25)
		default:
			fmt.Fprintf(b, `<text x="%.1f" y="%.1f" textLength="%.1f" fill="%s"%s>%s</text>`+"\n",
				x, y+baseline, w, fore, p.attributes(), html.EscapeString(text))
		}
		x += w
	}
}

func rect(b *strings.Builder, x, y, w, h float64, fill string, opacity float64) {
	fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" opacity="%.2f"/>`+"\n", x, y, w, h, fill, opacity)
}

// attributes are what SVG calls the style.
func (p piece) attributes() (s string) {
	if p.Attrs&uv.AttrBold != 0 {
		s += ` font-weight="bold"`
	}
	if p.Attrs&uv.AttrFaint != 0 {
		s += ` opacity="0.6"`
	}
	if p.Attrs&uv.AttrItalic != 0 {
		s += ` font-style="italic"`
	}
	if p.Underline != uv.UnderlineNone {
		s += ` text-decoration="underline"`
	}
	return s
}

func TestStylesAreTakenFromTheSequences(t *testing.T) {
	lines := parse("a\x1b[1;31mb\x1b[0mc\n\x1b[38;5;33md\x1b[48;2;1;2;3me\x1b[39;49mf\x1b[7m日本\x1b[m\n")
	var got []string
	for _, line := range lines {
		for _, p := range line {
			fore, back := p.colours()
			got = append(got, fmt.Sprint(p.text, p.cells, fore, back, p.attributes()))
		}
	}
	assert.Equal(t, []string{
		"a1" + ink, `b1#800000 font-weight="bold"`, "c    5" + ink,
		"d1#0087ff", "e1#0087ff#010203", "f1" + ink, "日本4" + paper + ink,
	}, got)
	assert.Len(t, lines, 2)
}

func TestBrokenSequencesDoNotPanic(t *testing.T) {
	for _, s := range []string{"\x1b[", "\x1b[38m", "\x1b[38;5m", "\x1b[48;2;1m", "\x1b[38;5;999mx", "\x1b[;;m", ""} {
		draw(parse(s), "")
	}
}

func TestThePictureIsWellFormed(t *testing.T) {
	svg := draw(parse("\x1b[2;3;4m<&> │ █░ \x1b[0m'\""), "a <title>")
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	assert.Contains(t, svg, "&lt;&amp;&gt;")
}
