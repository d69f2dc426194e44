// Command mutants shows that the library's tests can fail: it plants known faults, one at a time,
// in a private copy of the library and requires that the test which promises the opposite goes red.
//
//	go run ./modeltest/mutants                   all faults
//	go run ./modeltest/mutants -run 'lock|woken' those whose names match
//	go run ./modeltest/mutants -run lock -v      with what the tests say
//	go run ./modeltest/mutants -list             the table
//
// Without any fault all those tests must pass first. A fault is killed when its test fails, panics
// or hangs. A fault that does not compile, or whose lines the library has no longer, is an error in
// the table, in the folder faults. The exit code is 1 if a fault survives or the table is wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are the flags but for those that select.
type options struct {
	verbose  bool
	parallel int
	count    int
}

func run() error {
	var o options
	pattern := flag.String("run", "", "plant only faults whose names match this `regexp`")
	list := flag.Bool("list", false, "list the faults and their tests, and plant none")
	flag.BoolVar(&o.verbose, "v", false, "show what the tests say")
	flag.IntVar(&o.parallel, "p", runtime.GOMAXPROCS(0), "how many faults to plant at the same time")
	flag.IntVar(&o.count, "count", 1, "how many times a fault must be found, one after the other")
	flag.Parse()
	selected, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	all, err := allFaults()
	if err != nil {
		return err
	}
	var faults []fault
	for _, f := range all {
		if selected.MatchString(f.name) {
			faults = append(faults, f)
		}
	}
	switch {
	case len(faults) == 0:
		return errors.New("no fault has such a name")
	case *list:
		for _, f := range faults {
			fmt.Printf("%s\n\t%s\n", f.name, f.testNames())
		}
		return nil
	}
	return plantAll(faults, o)
}

// plantAll checks that the tests pass without a fault, and that they do not with each.
func plantAll(faults []fault, o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	start := time.Now()
	root, err := findRoot()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	l, err := copyLibrary(root, temp)
	if err != nil {
		return err
	}
	limits, err := l.sound(ctx, faults)
	if err != nil {
		return err
	}
	fmt.Printf("%d tests pass without a fault: %.0f s\n", len(limits), time.Since(start).Seconds())
	fmt.Printf("%d of %d faults are planted together\n", len(l.together.number), len(faults))

	bad := 0
	var workers sync.WaitGroup
	next := make(chan *fault)
	var mu sync.Mutex // of bad, and of the output
	for range o.parallel {
		workers.Go(func() {
			for f := range next {
				began := time.Now()
				verdict, output := l.try(ctx, f, limits, o.count)
				mu.Lock()
				fmt.Printf("%-8s  %-75s  %4.1f s  %s\n", verdict, f.name, time.Since(began).Seconds(), f.testNames())
				if o.verbose || !found(verdict) {
					fmt.Println(indent(output))
				}
				if !found(verdict) {
					bad++
				}
				mu.Unlock()
			}
		})
	}
	for i := range faults {
		if ctx.Err() == nil {
			next <- &faults[i]
		}
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d faults were not killed", bad, len(faults))
	}
	fmt.Printf("All %d faults killed: %.0f s\n", len(faults), time.Since(start).Seconds())
	return nil
}

func (f *fault) testNames() string {
	var names []string
	for _, t := range f.tests {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

func indent(text string) string {
	return "\t" + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n\t")
}
