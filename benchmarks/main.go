// Command benchmarks gives the same work to this library, to raw channels, to what people write by
// hand, and to other libraries: in one process, by turns, several times. It prints medians and
// ratios, checks that everything arrived that had to, and says whether the library is as fast as it
// set out to be.
//
//	go run ./benchmarks                   everything
//	go run ./benchmarks -short            a first impression, in less than two minutes
//	go run ./benchmarks -run 'rounds/'    what matches: workload/case
//	go run ./benchmarks -o results        also writes results/results.md and a chart for each workload
//
// The exit code is 1 if a message was lost, duplicated or out of order where it must not be, or if
// it was interrupted. A figure that falls short of its target only says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"
)

func main() {
	var (
		short  = flag.Bool("short", false, "fewer and shorter samples, and none of the largest cases")
		match  = flag.String("run", "", "only what matches this regular expression: workload/case")
		reps   = flag.Int("reps", 0, "repetitions (default 5, with -short 3)")
		folder = flag.String("o", "", "write results.md and the charts to this folder")
		list   = flag.Bool("list", false, "list the workloads and their cases, and do nothing")
	)
	flag.Parse()
	plan := full
	if *short {
		plan = brief
	}
	if *reps > 0 {
		plan.Reps = *reps
	}
	only, err := regexp.Compile(*match)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "benchmarks: bad arguments:", flag.Args(), err)
		os.Exit(2)
	}
	selected := selection(workloads(), plan, only)
	if *list {
		for _, w := range selected {
			for _, c := range w.Cases {
				fmt.Println(w.Name + "/" + c.Name)
			}
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, selected, plan, *folder))
}

// run measures, prints and writes. What was measured before ctx ended is shown all the same.
func run(ctx context.Context, selected []*Workload, plan Plan, folder string) (exit int) {
	defer socketProgram.Remove()
	began := time.Now()
	results := measure(ctx, selected, plan, newProgress(os.Stderr, selected, plan))
	r := report{
		where: describeMachine(ctx), command: "go run ./benchmarks " + strings.Join(os.Args[1:], " "),
		began: began, took: time.Since(began), plan: plan, results: results, cut: ctx.Err() != nil,
	}
	fmt.Print(r.markdown(false))
	if folder != "" {
		if err := r.write(folder); err != nil {
			fmt.Fprintln(os.Stderr, "benchmarks:", err)
			return 1
		}
	}
	for _, result := range results {
		if len(result.Failures) > 0 {
			return 1
		}
	}
	if r.cut {
		return 1
	}
	return 0
}

// selection returns the workloads with those of their cases that are wanted.
func selection(all []*Workload, plan Plan, only *regexp.Regexp) (selected []*Workload) {
	for _, w := range all {
		chosen := *w
		chosen.Cases = nil
		for _, c := range w.Cases {
			if only.MatchString(w.Name+"/"+c.Name) && !(c.Large && plan.Short) {
				chosen.Cases = append(chosen.Cases, c)
			}
		}
		if len(chosen.Cases) > 0 {
			selected = append(selected, &chosen)
		}
	}
	return selected
}
