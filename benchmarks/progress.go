package main

import (
	"fmt"
	"io"
	"time"
)

// progress tells, turn for turn, how far everything is.
type progress struct {
	w     io.Writer
	total int
	done  int
	began time.Time
}

func newProgress(w io.Writer, selected []*Workload, plan Plan) *progress {
	p := &progress{w: w, began: time.Now()}
	for _, workload := range selected {
		for _, c := range workload.Cases {
			for _, who := range c.Contestants {
				if who.Skip == "" {
					p.total += plan.Reps
				}
			}
		}
	}
	return p
}

func (p *progress) begin(w *Workload, c Case, who Contestant, rep int) {
	p.done++
	fmt.Fprintf(p.w, "%3d s %4d/%d  %d  %s/%s  %s  ", int(time.Since(p.began).Seconds()), p.done, p.total, rep+1, w.Name, c.Name, who.Name)
}

func (p *progress) end(w *Workload, s Sample, err error) {
	if err != nil {
		fmt.Fprintln(p.w, "FAILED:", err)
		return
	}
	m := w.Metrics[0].Name
	fmt.Fprintln(p.w, figure(s[m]), m)
}
