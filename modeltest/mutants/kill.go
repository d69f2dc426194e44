package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// leastLimit is how long a test may take with a fault, beyond many times what it takes without: a
// fault may make it hang.
const leastLimit = 10 * time.Second

var passedTest = regexp.MustCompile(`(?m)^--- PASS: (\w+) \((.+)s\)$`)

// sound plants the faults that can be planted together, and runs the tests of all faults without
// any: all of them must be there and pass. It returns the limit of each: a test that takes longer
// with a fault hangs.
func (l *library) sound(ctx context.Context, faults []fault) (limits map[test]time.Duration, err error) {
	if l.together, err = plantTogether(l.root, faults); err != nil {
		return nil, err
	}
	limits = make(map[test]time.Duration)
	for p, names := range testsOf(faults) {
		binary, err := l.build(ctx, p, names, l.together.changed)
		if err != nil {
			return nil, err
		}
		l.binaries[p] = binary
		passed, output, err := l.run(ctx, binary, p.dir, 0, names, 5*time.Minute)
		if err != nil {
			return nil, err
		}
		if !passed {
			return nil, fmt.Errorf("the tests do not pass without a fault:\n%s", output)
		}
		for _, match := range passedTest.FindAllStringSubmatch(output, -1) {
			took, _ := time.ParseDuration(match[2] + "s")
			limits[test{p, match[1]}] = leastLimit + 20*took
		}
		for _, name := range names {
			if _, ok := limits[test{p, name}]; !ok {
				return nil, fmt.Errorf("no test %s was run in %s", name, p.dir)
			}
		}
	}
	return limits, nil
}

// The verdicts on a fault.
const (
	killed   = "killed"
	hung     = "hung"     // killed too: a test did not end within its limit
	survived = "SURVIVED" // a test passed
	mistaken = "ERROR"    // it could not be planted
)

// found reports whether the verdict is one that is required.
func found(verdict string) bool { return verdict == killed || verdict == hung }

// try plants a fault, if it is not planted yet, and runs each of its tests count times. It is
// killed if they all fail each time.
func (l *library) try(ctx context.Context, f *fault, limits map[test]time.Duration, count int) (verdict, output string) {
	changed, err := f.plant(l.root)
	if err != nil {
		return mistaken, err.Error()
	}
	number := l.together.number[f.name]
	for p, names := range testsOf([]fault{*f}) {
		binary := l.binaries[p]
		if number == 0 {
			if binary, err = l.build(ctx, p, names, changed); err != nil {
				return mistaken, err.Error()
			}
			defer os.RemoveAll(filepath.Dir(binary))
		}
		for _, name := range names {
			for range count {
				var passed bool
				passed, output, err = l.run(ctx, binary, p.dir, number, []string{name}, limits[test{p, name}])
				switch {
				case err != nil:
					return mistaken, err.Error()
				case passed:
					return survived, output
				}
			}
		}
	}
	if strings.Contains(output, "panic: test timed out after") {
		return hung, output
	}
	return killed, output
}
