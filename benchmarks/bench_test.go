package main

import (
	"strings"
	"testing"
)

// Benchmark is everything for go test and benchstat, with short samples; the mean of them is
// reported. It leaves what takes long to go run ./benchmarks, which also lets all take turns.
func Benchmark(b *testing.B) {
	for _, w := range workloads() {
		for _, c := range w.Cases {
			if c.Heavy || c.Large {
				continue
			}
			for _, who := range c.Contestants {
				if who.Skip != "" {
					continue
				}
				b.Run("workload="+w.Name+"/"+c.Name+"/peer="+who.Name, func(b *testing.B) {
					sums := make(Sample)
					for b.Loop() {
						sample, err := who.Run(glance)
						if err != nil {
							b.Fatal(err)
						}
						for metric, v := range sample {
							sums[metric] += v
						}
					}
					for metric, sum := range sums {
						b.ReportMetric(sum/float64(b.N), strings.ReplaceAll(metric, " ", "-"))
					}
					b.ReportMetric(0, "ns/op") // how long a sample takes says nothing
				})
			}
		}
	}
}
