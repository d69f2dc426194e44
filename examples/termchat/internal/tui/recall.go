package tui

// maxRecall is how many typed lines are kept for the up key.
const maxRecall = 200

// recall is the history of the input line.
type recall struct {
	lines []string
	at    int    // index of the line that is shown; len(lines) is the draft
	draft string // what had been typed before the first step back
}

// add keeps a line that was entered, and goes back to the end.
func (r *recall) add(line string) {
	if n := len(r.lines); n == 0 || r.lines[n-1] != line {
		r.lines = append(r.lines, line)
	}
	if over := len(r.lines) - maxRecall; over > 0 {
		r.lines = append(r.lines[:0], r.lines[over:]...)
	}
	r.at, r.draft = len(r.lines), ""
}

// back returns the line before; shown is what is in the input now.
func (r *recall) back(shown string) string {
	if r.at == len(r.lines) {
		r.draft = shown
	}
	if r.at == 0 {
		return shown
	}
	r.at--
	return r.lines[r.at]
}

// forth returns the line after, and at last the draft.
func (r *recall) forth(shown string) string {
	if r.at == len(r.lines) {
		return shown
	}
	r.at++
	if r.at == len(r.lines) {
		return r.draft
	}
	return r.lines[r.at]
}
