package tui

import "slices"

// maxEntries bounds the memory of a scrollback. When it is full the oldest eighth goes at once.
const maxEntries = 2000

// A scrollback is what has been said, and the part of it that is in the window. It follows the end
// unless it has been scrolled up; then the same lines stay in the window whatever is added.
type scrollback struct {
	entries       []*entry // oldest first
	total         int      // lines of all entries
	width, height int      // of the window
	up            int      // lines below the window
	unseen        int      // entries added while the window was not at the end
	styles        *styles
}

// add appends an entry.
func (b *scrollback) add(e *entry) {
	if b.width > 0 {
		e.lines = e.layout(b.width, b.styles)
	}
	b.entries = append(b.entries, e)
	b.total += len(e.lines)
	if b.up > 0 {
		b.up += len(e.lines)
		b.unseen++
	}
	if len(b.entries) > maxEntries {
		b.forget(maxEntries / 8)
	}
}

// forget drops the n oldest entries.
func (b *scrollback) forget(n int) {
	for _, e := range b.entries[:n] {
		b.total -= len(e.lines)
	}
	b.entries = slices.Delete(b.entries, 0, n)
	b.scroll(0)
}

// resize sets the window; if it was scrolled up, the entry at its bottom stays there.
func (b *scrollback) resize(width, height int) {
	b.height = max(0, height)
	if width = max(0, width); width != b.width {
		b.width = width
		b.relayout()
	}
	b.scroll(0)
}

// relayout breaks all lines anew, after a change of width or of looks.
func (b *scrollback) relayout() {
	bottom := b.bottom()
	b.total, b.up = 0, 0
	for i, e := range b.entries {
		e.lines = nil
		if b.width > 0 {
			e.lines = e.layout(b.width, b.styles)
		}
		b.total += len(e.lines)
		if i > bottom {
			b.up += len(e.lines)
		}
	}
	b.scroll(0)
}

// bottom is the index of the last entry that is in the window.
func (b *scrollback) bottom() int {
	below := 0
	for i := len(b.entries) - 1; i >= 0; i-- {
		if below += len(b.entries[i].lines); below > b.up {
			return i
		}
	}
	return len(b.entries) - 1
}

// scroll moves the window up by n lines, or down if n is negative, as far as there are lines.
func (b *scrollback) scroll(n int) {
	b.up = max(0, min(b.up+n, b.total-b.height))
	if b.up == 0 {
		b.unseen = 0
	}
}

// end moves the window to the end, which it follows from then on.
func (b *scrollback) end() { b.scroll(-b.up) }

// following reports whether the window is at the end.
func (b *scrollback) following() bool { return b.up == 0 }

// window returns the lines that are in the window, at most height of them.
func (b *scrollback) window() []string {
	lines := make([]string, 0, b.height)
	skip := b.up
	for i := len(b.entries) - 1; i >= 0 && len(lines) < b.height; i-- {
		have := b.entries[i].lines
		for j := len(have) - 1; j >= 0 && len(lines) < b.height; j-- {
			if skip > 0 {
				skip--
				continue
			}
			lines = append(lines, have[j])
		}
	}
	slices.Reverse(lines)
	return lines
}
