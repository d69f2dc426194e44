package main

import (
	"fmt"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// Target is what the library set out to reach.
type Target struct {
	What  string
	Bound float64
	Least bool // at least the bound; otherwise at most
	Value func(*Result) (float64, bool)
}

func atLeast(what string, bound float64, value func(*Result) (float64, bool)) Target {
	return Target{what, bound, true, value}
}

func atMost(what string, bound float64, value func(*Result) (float64, bool)) Target {
	return Target{what, bound, false, value}
}

func (t Target) reached(v float64) bool {
	if t.Least {
		return v >= t.Bound
	}
	return v <= t.Bound
}

func (t Target) want() string {
	if t.Least {
		return "≥ " + figure(t.Bound)
	}
	return "≤ " + figure(t.Bound)
}

// of is a figure itself.
func of(c, contestant, metric string) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) { return r.Median(c, contestant, metric) }
}

// ratio is that of a to b.
func ratio(a, b turns, metric string) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) { return r.Ratio(a, b, metric) }
}

// over is how many times ours the first metric of a contestant is.
func over(c, contestant string) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) {
		return r.Ratio(turns{c, contestant}, turns{c, peers.NameOurs}, r.Workload.Metrics[0].Name)
	}
}

func rawOverOurs(c string) func(*Result) (float64, bool) { return over(c, peers.NameRaw) }

// bestLibraryOverOurs takes the best of the other libraries.
func bestLibraryOverOurs(c string) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) {
		name, ok := r.best(c, peers.Library, r.Workload.Metrics[0].Name)
		if !ok {
			return 0, false
		}
		return over(c, name)(r)
	}
}

func inverse(value func(*Result) (float64, bool)) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) {
		v, ok := value(r)
		if !ok || v == 0 {
			return 0, false
		}
		return 1 / v, true
	}
}

// largestOver is the largest of some figures, over the smallest.
func largestOverSmallest(contestant, metric string, cases ...string) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) {
		var least, most float64
		n := 0
		for _, c := range cases {
			v, ok := r.Median(c, contestant, metric)
			if !ok {
				continue // left out
			}
			if n == 0 || v < least {
				least = v
			}
			most = max(most, v)
			n++
		}
		if n < 2 || least == 0 {
			return 0, false
		}
		return most / least, true
	}
}

// figure writes a number with three digits that mean something.
func figure(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 1e6:
		return fmt.Sprintf("%.3g M", v/1e6)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return trimmed(fmt.Sprintf("%.1f", v))
	case v >= 0.01:
		return trimmed(fmt.Sprintf("%.2f", v))
	}
	return fmt.Sprintf("%.1g", v)
}

// trimmed takes the zeros away behind a decimal point.
func trimmed(s string) string {
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}
