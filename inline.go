package broadcast

import (
	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/numbering"
	"github.com/fbd86cad/broadcast/internal/presence"
)

// inlined calls the small methods of other packages that readers and publishers call for every
// message. Generic code is compiled in the package that instantiates it. There, the compiler
// inlines a method of a third package only if non-generic code of this package has had it inlined.
// Without this function, BenchmarkFanOut is 10 % slower. A test in modeltest checks what the
// compiler inlines.
func inlined(
	g *flow.Gate, c *flow.Cursor, p *presence.State, f *presence.Follower, t *numbering.Table,
	n *numbering.Span,
) bool {
	w := c.Load()
	c.Set(flow.Slow)
	ok, arrived := c.Advance(w, 1, w.Position())
	return ok && arrived && c.Clear(flow.Slow) && w.Slow() && w.Awaited() && c.HalfEmpty(c.Room()) &&
		c.Position() == c.Limit() && c.State().Patient() && g.Open(0) && g.Waiting() &&
		p.Lot() != nil && f.Behind() && n.Left(0, 1) == 1 && t.Epoch(n) == n.Number(1)
}

var _ = inlined
