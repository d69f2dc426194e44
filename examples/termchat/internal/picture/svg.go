package main

import (
	"fmt"
	"html"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
)

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
	fmt.Fprintf(b, `<rect width="%.0f" height="%.0f" rx="9" fill="%s"/>`+"\n", width, height, background)
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
