package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// A chart is drawn with a logarithmic axis for values: lines if its points have places on another
// one, else bars in groups. It is readable on a light and on a dark page.
type chart struct {
	title  string
	unit   string   // of values
	axis   string   // of places
	groups []string // what bars are grouped by
	series []series
}

// series is what one contestant has reached.
type series struct {
	name   string
	color  string
	points []point // x is the place, or the index of the group
}

type point struct{ x, y float64 }

// The drawing, in its own units.
const (
	chartWidth  = 860
	plotLeft    = 70
	plotRight   = 640
	plotTop     = 50
	plotBottom  = 360
	chartHeight = 410
)

// chartColors can be told apart by those who are colour-blind, and read on white and on black.
var chartColors = []string{"#0b8a6a", "#d55e00", "#8a6fd1", "#3f8fd2", "#c2518f", "#a07f00", "#7f8c8d", "#d1495b", "#5b9a3c", "#b8860b"}

const chartStyle = `<style>
.page{fill:#fff}.text{fill:#333;font:13px sans-serif}.title{font-size:16px;font-weight:bold}.small{font-size:10px}.grid{stroke:#8888;stroke-width:.5}
@media (prefers-color-scheme:dark){.page{fill:#111820}.text{fill:#ddd}}
</style>`

// drawing makes the chart of a workload's first metric.
func drawing(r *Result) chart {
	w := r.Workload
	c := chart{title: w.Title, unit: w.Metrics[0].Name, axis: w.Axis}
	lines := len(w.Cases) > 1
	for _, one := range w.Cases {
		lines = lines && one.X > 0
	}
	for i, one := range w.Cases {
		x := one.X
		if !lines {
			x = float64(i)
			c.groups = append(c.groups, one.Name)
		}
		for _, who := range one.Contestants {
			if y, ok := r.Median(one.Name, who.Name, c.unit); ok && y > 0 {
				c.add(who.Name, point{x, y})
			}
		}
	}
	return c
}

func (c *chart) add(name string, p point) {
	i := slices.IndexFunc(c.series, func(s series) bool { return s.name == name })
	if i < 0 {
		i = len(c.series)
		c.series = append(c.series, series{name: name, color: c.colorOf(name)})
	}
	c.series[i].points = append(c.series[i].points, p)
}

// scale maps a logarithmic axis to the drawing.
type scale struct{ low, high, from, to float64 } // low and high are powers of ten

func scaleOf(values []float64, from, to float64) scale {
	if len(values) == 0 {
		values = []float64{1}
	}
	s := scale{math.Floor(math.Log10(slices.Min(values))), math.Ceil(math.Log10(slices.Max(values))), from, to}
	s.high = max(s.high, s.low+1)
	return s
}

func (s scale) at(v float64) float64 {
	return s.from + (s.to-s.from)*(math.Log10(v)-s.low)/(s.high-s.low)
}

// ticks are the powers of ten.
func (s scale) ticks() (ticks []float64) {
	for p := s.low; p <= s.high; p++ {
		ticks = append(ticks, math.Pow(10, p))
	}
	return ticks
}

// svg returns the drawing.
func (c chart) svg() string {
	var xs, ys []float64
	for _, s := range c.series {
		for _, p := range s.points {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n%s\n",
		chartWidth, chartHeight, html.EscapeString(c.title), chartStyle)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d" rx="8"/>`+"\n", chartWidth, chartHeight)
	write(&b, 20, 28, "start", "text title", c.title+", "+c.unit+" (logarithmic)")
	y := scaleOf(ys, plotBottom, plotTop)
	for _, t := range y.ticks() {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", plotLeft, plotRight, y.at(t), y.at(t))
		write(&b, plotLeft-8, y.at(t)+4, "end", "text", powerOfTen(t))
	}
	if c.groups == nil {
		c.lines(&b, scaleOf(xs, plotLeft+10, plotRight-10), y)
	} else {
		c.bars(&b, y)
	}
	c.legend(&b)
	b.WriteString("</svg>\n")
	return b.String()
}

func (c chart) lines(b *strings.Builder, x, y scale) {
	for _, t := range x.ticks() {
		write(b, x.at(t), plotBottom+20, "middle", "text", powerOfTen(t))
	}
	write(b, (plotLeft+plotRight)/2, plotBottom+40, "middle", "text", c.axis)
	for _, s := range c.series {
		slices.SortFunc(s.points, func(p, q point) int { return cmp.Compare(p.x, q.x) })
		var path []string
		for _, p := range s.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.x), y.at(p.y)))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x.at(p.x), y.at(p.y), s.color)
		}
		width := 1.8
		if s.name == peers.NameOurs {
			width = 3.5
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f"/>`+"\n", strings.Join(path, " "), s.color, width)
	}
}

func (c chart) bars(b *strings.Builder, y scale) {
	group := float64(plotRight-plotLeft) / float64(len(c.groups))
	width := 0.8 * group / float64(max(1, len(c.series)))
	class := "text"
	if len(c.groups) > 5 {
		class = "text small"
	}
	for i, name := range c.groups {
		x := plotLeft + group*(float64(i)+0.5)
		for line, part := range strings.Split(name, "/") { // a name is long
			write(b, x, plotBottom+16+14*float64(line), "middle", class, part)
		}
	}
	for i, s := range c.series {
		for _, p := range s.points {
			x := plotLeft + group*(p.x+0.1) + width*float64(i)
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n",
				x, y.at(p.y), 0.9*width, max(1, plotBottom-y.at(p.y)), s.color)
		}
	}
}

func (c chart) legend(b *strings.Builder) {
	for i, s := range c.series {
		y := float64(plotTop + 10 + 24*i)
		fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="14" height="14" rx="3" fill="%s"/>`+"\n", plotRight+24, y-11, s.color)
		write(b, plotRight+46, y+1, "start", "text", s.name)
	}
}

// colorOf returns the color of a contestant: that of a peer is the same in all charts. Others get
// those that peers leave, and then those that nobody has in this chart; one that comes first is
// ours, and has our color.
func (c *chart) colorOf(name string) string {
	all := peers.All[Message]()
	if i := slices.IndexFunc(all, func(p peers.Peer[Message]) bool { return p.Name == name }); i >= 0 {
		return chartColors[i]
	}
	if len(c.series) == 0 {
		return chartColors[0]
	}
	for _, color := range slices.Concat(chartColors[len(all):], chartColors[:len(all)]) {
		if !slices.ContainsFunc(c.series, func(s series) bool { return s.color == color }) {
			return color
		}
	}
	return chartColors[len(c.series)%len(chartColors)]
}

func write(b *strings.Builder, x, y float64, anchor, class, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, html.EscapeString(text))
}

// powerOfTen writes one as short as it can be.
func powerOfTen(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.0f M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.0f k", v/1e3)
	case v >= 1:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%g", v)
}
