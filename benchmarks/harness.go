package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// Plan is how thoroughly to measure.
type Plan struct {
	Reps   int           // repetitions; in each, everybody has a turn
	Sample time.Duration // how long to measure in one turn, where the work has no size of its own
	Cap    time.Duration // how long to publish in one turn, where the work has a size of its own
	Short  bool          // sizes are smaller
}

var (
	full  = Plan{Reps: 5, Sample: 200 * time.Millisecond, Cap: 1500 * time.Millisecond}
	brief = Plan{Reps: 3, Sample: 50 * time.Millisecond, Cap: 200 * time.Millisecond, Short: true}

	// glance is for go test: one turn shows that the work can be done.
	glance = Plan{Reps: 1, Sample: 2 * time.Millisecond, Cap: 20 * time.Millisecond, Short: true}
)

// Workload is one kind of work, given to several contestants in several cases.
type Workload struct {
	Name     string // one word, for flags and files
	Title    string
	Work     string   // what is done and counted
	NotShown string   // what the figures do not say
	Metrics  []Metric // the first one is drawn
	Axis     string   // what X of the cases is
	Cases    []Case
	Targets  []Target
}

// Metric is one figure of a sample.
type Metric struct {
	Name string // with its unit
}

// Case is a workload with its parameters.
type Case struct {
	Name        string  // key=value/key=value
	X           float64 // on the axis of a chart; 0 if there is none, then the chart has bars
	Heavy       bool    // not in go test
	Large       bool    // not with -short either
	Contestants []Contestant
}

// Contestant is somebody who is given a case.
type Contestant struct {
	Name string
	Kind peers.Kind
	How  string // how it does the work, for the report
	Skip string // why it is left out, if so
	Run  func(Plan) (Sample, error)
}

// Sample is what one turn has given, by name of the metric. An error instead says that a message
// was lost or came twice.
type Sample map[string]float64

// measure gives everybody a turn, as often as the plan says: first every contestant of a case once,
// then every case, then again. So a machine that is slow for a while is slow for all. Who comes
// first changes from turn to turn.
func measure(ctx context.Context, selected []*Workload, plan Plan, p *progress) (results []*Result) {
	for _, w := range selected {
		r := newResult(w)
		results = append(results, r)
		for rep := range plan.Reps {
			for _, c := range w.Cases {
				for i := range c.Contestants {
					who := c.Contestants[(i+rep)%len(c.Contestants)]
					if who.Skip != "" || r.failed(c.Name, who.Name) {
						continue
					}
					if ctx.Err() != nil {
						return results
					}
					p.begin(w, c, who, rep)
					sample, err := who.Run(plan)
					if err != nil {
						r.Failures = append(r.Failures, Failure{c.Name, who.Name, err})
					} else {
						r.add(c.Name, who.Name, rep, sample)
					}
					p.end(w, sample, err)
					runtime.GC() // nobody pays for what another has left behind
				}
			}
		}
	}
	return results
}

// contest lets peers compete. skip says why one is left out, "" if it is not.
func contest(all []peers.Peer[Message], skip func(peers.Peer[Message]) string, run func(peers.Peer[Message], Plan) (Sample, error)) (c []Contestant) {
	for _, p := range all {
		c = append(c, Contestant{
			Name: p.Name, Kind: p.Kind, How: p.How, Skip: skip(p),
			Run: func(plan Plan) (Sample, error) { return run(p, plan) },
		})
	}
	return c
}

func nobodyIsLeftOut(peers.Peer[Message]) string { return "" }

// names returns n names, made before anything is measured.
func names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("name-%d", i)
	}
	return names
}
