package main

import (
	"slices"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// Result is what the turns of a workload have given.
type Result struct {
	Workload *Workload
	Failures []Failure

	samples map[turns]map[int]Sample // by repetition
}

// Failure is a contestant that did not do its work.
type Failure struct {
	Case, Contestant string
	Err              error
}

// turns are those of one contestant at one case.
type turns struct{ c, contestant string }

func newResult(w *Workload) *Result {
	return &Result{Workload: w, samples: make(map[turns]map[int]Sample)}
}

func (r *Result) add(c, contestant string, rep int, s Sample) {
	key := turns{c, contestant}
	if r.samples[key] == nil {
		r.samples[key] = make(map[int]Sample)
	}
	r.samples[key][rep] = s
}

func (r *Result) failed(c, contestant string) bool {
	return slices.ContainsFunc(r.Failures, func(f Failure) bool { return f.Case == c && f.Contestant == contestant })
}

// values returns a figure of all repetitions, none if the contestant was left out or failed.
func (r *Result) values(c, contestant, metric string) (values []float64) {
	if r.failed(c, contestant) {
		return nil
	}
	for _, s := range r.samples[turns{c, contestant}] {
		if v, ok := s[metric]; ok {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return values
}

// Median returns the median of a figure over the repetitions.
func (r *Result) Median(c, contestant, metric string) (float64, bool) {
	return median(r.values(c, contestant, metric))
}

// Ratio returns how many times the figure of b that of a is. It is the median of the ratios in each
// repetition, when both had their turns one soon after the other.
func (r *Result) Ratio(a, b turns, metric string) (float64, bool) {
	if r.failed(a.c, a.contestant) || r.failed(b.c, b.contestant) {
		return 0, false
	}
	var ratios []float64
	for rep, s := range r.samples[a] {
		of, ok := s[metric]
		by, ok2 := r.samples[b][rep][metric]
		if ok && ok2 && by > 0 {
			ratios = append(ratios, of/by)
		}
	}
	slices.Sort(ratios)
	return median(ratios)
}

// Spread returns how far the repetitions lie apart, as a fraction of the median.
func (r *Result) Spread(c, contestant, metric string) float64 {
	values := r.values(c, contestant, metric)
	m, ok := median(values)
	if !ok || m == 0 {
		return 0
	}
	return (values[len(values)-1] - values[0]) / m
}

// ours returns the contestant of a case with which the others are compared: the first that is this
// library.
func (r *Result) ours(c string) string {
	for _, one := range r.Workload.Cases {
		if one.Name != c {
			continue
		}
		if i := slices.IndexFunc(one.Contestants, func(who Contestant) bool { return who.Kind == peers.Ours }); i >= 0 {
			return one.Contestants[i].Name
		}
	}
	return ""
}

// best returns the contestant of a kind with the lowest median.
func (r *Result) best(c string, kind peers.Kind, metric string) (name string, ok bool) {
	lowest := 0.0
	for _, one := range r.Workload.Cases {
		if one.Name != c {
			continue
		}
		for _, who := range one.Contestants {
			m, has := r.Median(c, who.Name, metric)
			if who.Kind == kind && has && (!ok || m < lowest) {
				name, lowest, ok = who.Name, m, true
			}
		}
	}
	return name, ok
}

// median returns the middle of sorted values, or the mean of the two in the middle.
func median(sorted []float64) (float64, bool) {
	n := len(sorted)
	if n == 0 {
		return 0, false
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2, true
}

// quantile returns the value below which a part of the sorted values lies.
func quantile[T any](sorted []T, part float64) T {
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}
