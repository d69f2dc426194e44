package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// report is everything that one run has found out.
type report struct {
	where   machine
	command string
	began   time.Time
	took    time.Duration
	plan    Plan
	results []*Result
	cut     bool // it was interrupted
}

// write writes results.md and the charts.
func (r report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, result := range r.results {
		if err := os.WriteFile(filepath.Join(folder, chartName(result)), []byte(drawing(result).svg()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "results.md"), []byte(r.markdown(true)), 0o644)
}

func chartName(r *Result) string { return r.Workload.Name + ".svg" }

// markdown returns the report as text that is readable as it is, too; with references to the
// charts, if they are written.
func (r report) markdown(charts bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\n")
	fmt.Fprintf(&b, "`%s` on %s: %d repetitions in %v.\n\n", strings.TrimSpace(r.command), r.began.Format(time.DateOnly), r.plan.Reps, r.took.Round(time.Second))
	if r.cut {
		b.WriteString("Interrupted: what follows is of the turns until then.\n\n")
	}
	for _, line := range r.where.lines() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "\nFigures are medians over the repetitions, in which all contestants had their turns one after the other. In brackets: how many "+
		"times this library's figure, as the median of the ratios in each repetition. Messages have 56 bytes, if it is not said otherwise.\n\n")
	b.WriteString(contestantsSection(r.results))
	for _, result := range r.results {
		b.WriteString(section(result))
		if charts {
			fmt.Fprintf(&b, "\n![%s](%s)\n", result.Workload.Title, chartName(result))
		}
	}
	b.WriteString(targetsSection(r.results))
	b.WriteString(failuresSection(r.results))
	return b.String()
}

// contestantsSection says how each contestant does its work, and who could not be had.
func contestantsSection(results []*Result) string {
	var b strings.Builder
	b.WriteString("Contestants:\n\n")
	told := make(map[string]bool)
	for _, r := range results {
		for _, c := range r.Workload.Cases {
			for _, who := range c.Contestants {
				if who.How != "" && !told[who.Name] {
					told[who.Name] = true
					fmt.Fprintf(&b, "- **%s**: %s.\n", who.Name, who.How)
				}
			}
		}
	}
	if told[peers.NameRaw] {
		b.WriteString("\nNot measured, because they could not be downloaded where this was written: cskr/pubsub/v2, dustin/go-broadcast, moby/pubsub, " +
			"ThreeDotsLabs/watermill, asaskevich/EventBus.\n")
	}
	return b.String()
}

// section is the part of one workload.
func section(r *Result) string {
	var b strings.Builder
	w := r.Workload
	fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", w.Title, w.Work)
	if len(w.Metrics) == 1 {
		fmt.Fprintf(&b, "%s:\n\n%s", w.Metrics[0].Name, wideTable(r))
	} else {
		b.WriteString(longTable(r))
	}
	spread := 0.0
	for _, c := range w.Cases {
		for _, who := range c.Contestants {
			spread = max(spread, r.Spread(c.Name, who.Name, w.Metrics[0].Name))
		}
	}
	fmt.Fprintf(&b, "\nRepetitions lie apart by up to %.0f %% of the median. Not shown: %s\n", 100*spread, w.NotShown)
	if lines := leftOut(w); len(lines) > 0 {
		fmt.Fprintf(&b, "Left out: %s.\n", strings.Join(lines, "; "))
	}
	return b.String()
}

// leftOut lists who was left out, and why.
func leftOut(w *Workload) (lines []string) {
	var reasons []string
	who := make(map[string][]string)
	for _, c := range w.Cases {
		for _, one := range c.Contestants {
			if one.Skip == "" || slices.Contains(who[one.Skip], one.Name) {
				continue
			}
			if who[one.Skip] == nil {
				reasons = append(reasons, one.Skip)
			}
			who[one.Skip] = append(who[one.Skip], one.Name)
		}
	}
	for _, reason := range reasons {
		lines = append(lines, strings.Join(who[reason], ", ")+" ("+reason+")")
	}
	return lines
}

// wideTable has a line for each case and a column for each contestant.
func wideTable(r *Result) string {
	w := r.Workload
	var who []string
	for _, c := range w.Cases {
		for _, one := range c.Contestants {
			if one.Skip == "" && !slices.Contains(who, one.Name) {
				who = append(who, one.Name)
			}
		}
	}
	rows := [][]string{append([]string{""}, who...)}
	for _, c := range w.Cases {
		row := []string{c.Name}
		for _, name := range who {
			row = append(row, cell(r, c.Name, name, w.Metrics[0].Name))
		}
		rows = append(rows, row)
	}
	return table(rows)
}

// longTable has a line for each contestant of each case, and a column for each metric.
func longTable(r *Result) string {
	w := r.Workload
	head := []string{"", ""}
	for _, m := range w.Metrics {
		head = append(head, m.Name)
	}
	rows := [][]string{head}
	for _, c := range w.Cases {
		for _, who := range c.Contestants {
			if who.Skip != "" {
				continue
			}
			row := []string{c.Name, who.Name}
			for _, m := range w.Metrics {
				row = append(row, cell(r, c.Name, who.Name, m.Name))
			}
			rows = append(rows, row)
		}
	}
	return table(rows)
}

// cell is a median, and how many times ours it is.
func cell(r *Result, c, contestant, metric string) string {
	if r.failed(c, contestant) {
		return "FAILED"
	}
	m, ok := r.Median(c, contestant, metric)
	if !ok {
		return "–"
	}
	ours := r.ours(c)
	times, ok := r.Ratio(turns{c, contestant}, turns{c, ours}, metric)
	if !ok || contestant == ours {
		return figure(m)
	}
	return fmt.Sprintf("%s (%s×)", figure(m), figure(times))
}

// table aligns the columns of a Markdown table: the first row is its head.
func table(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], len([]rune(text)))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, text := range row {
			b.WriteString("| " + text + strings.Repeat(" ", widths[i]-len([]rune(text))+1))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				b.WriteString("|" + strings.Repeat("-", width+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

// targetsSection holds the figures against what the library set out to reach.
func targetsSection(results []*Result) string {
	rows := [][]string{{"workload", "what", "target", "measured", ""}}
	for _, r := range results {
		for _, t := range r.Workload.Targets {
			v, ok := t.Value(r)
			if !ok {
				continue // not measured this time
			}
			mark := "✓"
			if !t.reached(v) {
				mark = "✗"
			}
			rows = append(rows, []string{r.Workload.Name, t.What, t.want(), figure(v), mark})
		}
	}
	if len(rows) == 1 {
		return ""
	}
	return "\n## Targets\n\nWhat this library set out to reach. A figure that falls short fails nothing.\n\n" + table(rows)
}

// failuresSection lists what was lost, duplicated or out of order.
func failuresSection(results []*Result) string {
	var b strings.Builder
	for _, r := range results {
		for _, f := range r.Failures {
			fmt.Fprintf(&b, "- %s/%s, %s: %v\n", r.Workload.Name, f.Case, f.Contestant, f.Err)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## Failures\n\n" + b.String()
}
