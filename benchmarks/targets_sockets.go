package main

import (
	"strings"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// What broadcastws and broadcastsse set out to reach.

func webSocketBurstTargets() []Target {
	const prepared = "gorilla-prepared"
	targets := []Target{
		atMost("CPU: ours / best other", 0.45, oursOverLowest(cpuPerDelivery, "")),
		atMost("CPU: ours / gorilla-prepared", 0.45, oursOverLowest(cpuPerDelivery, prepared)),
		atMost("ms to the last client: ours / best other", 0.6, oursOverLowest(msLastClient, "")),
		atMost("ms to the last client: ours / gorilla-prepared", 0.6, oursOverLowest(msLastClient, prepared)),
		atMost("writes per delivery", 0.04, oursItself(writesPerDelivery)),
	}
	for _, over := range []struct {
		name, prefix string
		times        float64
	}{
		{"best of gorilla", "gorilla-", 1.8},
		{prepared, prepared, 1.8},
		{"gorilla-hub", "gorilla-hub", 15},
		{"messenger-2026-11", "messenger-2026-11", 15},
		{"centrifuge", "centrifuge", 5},
	} {
		targets = append(targets, atLeast("deliveries/s: ours / "+over.name, over.times,
			oursOverHighest(deliveriesPerSecond, over.prefix)))
	}
	return targets
}

func webSocketSingleTargets() []Target {
	return []Target{
		atMost("CPU: ours / gorilla-hub", 1.05, oursOverLowest(cpuPerDelivery, "gorilla-hub")),
	}
}

func webSocketMemoryTargets() []Target {
	return []Target{
		atMost("resident kB for each connection", 18, oursItself(residentPerClient)),
		atMost("kB of heap for each client that never reads", 6, oursItself(heapPerStuckClient)),
	}
}

func eventStreamTargets() []Target {
	return []Target{
		atMost("CPU: ours / sse-2026-11", 0.55, oursOverLowest(cpuPerDelivery, "sse-2026-11")),
	}
}

// A figure finds a value in a result, if it is there.
type figureOf = func(*Result) (float64, bool)

func oursItself(metric string) figureOf {
	return func(r *Result) (float64, bool) {
		return r.Median(socketCase, r.ours(socketCase), metric)
	}
}

func oursOverLowest(metric, prefix string) figureOf {
	return oursOver(metric, prefix, func(a, b float64) bool { return a < b })
}

func oursOverHighest(metric, prefix string) figureOf {
	return oursOver(metric, prefix, func(a, b float64) bool { return a > b })
}

// oursOver divides our figure by that of the best other whose name has a prefix.
func oursOver(metric, prefix string, better func(a, b float64) bool) figureOf {
	return func(r *Result) (float64, bool) {
		ours, best, value := r.ours(socketCase), "", 0.0
		for _, who := range r.Workload.Cases[0].Contestants {
			v, ok := r.Median(socketCase, who.Name, metric)
			if !ok || who.Name == ours || who.Kind == peers.Floor || !strings.HasPrefix(who.Name, prefix) {
				continue
			}
			if best == "" || better(v, value) {
				best, value = who.Name, v
			}
		}
		return r.Ratio(turns{socketCase, ours}, turns{socketCase, best}, metric)
	}
}
