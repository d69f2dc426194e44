// Command laws measures how the work of each call grows with the readers, chats, buffers, history
// and followers there are, and prints the table that docs/performance.md has.
//
//	go run ./modeltest/laws
//
// Work is counted, not timed: the library is built with coverage counters, and what a call costs is
// how often a block of it runs, in the caller and in the goroutines of the broker. The counts do
// not depend on the machine. One quantity at a time is made eight times as large, and the counts
// must grow as the law says. What package runtime does, such as copying and growing a slice or a
// map, is not counted, nor is what the standard library does to sort.
//
// With -v it also prints the counts. It exits with 1 if a call breaks its law.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/coverage"
	"strings"
	"testing"
	"testing/synctest"
)

const (
	library = "github.com/fbd86cad/broadcast"
	inside  = "LAWS_TABLE" // the environment of the binary that has counters says where its table goes
)

func main() {
	testing.Init()
	verbose := flag.Bool("v", false, "also print the counts")
	only := flag.String("run", "", "only the rows that contain this; the table is not complete then")
	flag.Parse()
	table := os.Getenv(inside)
	if table == "" {
		if err := instrumented(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "laws:", err)
			os.Exit(1)
		}
		return
	}
	// A bubble wants a test around it.
	everything := func(string, string) (bool, error) { return true, nil }
	testing.Main(everything, []testing.InternalTest{{Name: "laws", F: func(t *testing.T) {
		file, err := os.Create(table)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		printTable(t, file, *only, *verbose)
	}}}, nil, nil)
}

// printTable measures all rows that contain only, writes them to a file and fails the test for each
// law that is broken.
func printTable(t *testing.T, file io.Writer, only string, verbose bool) {
	fmt.Fprint(file, header())
	for _, r := range rows {
		if !strings.Contains(r.String(), only) {
			continue
		}
		found := measure(t, &r)
		fmt.Fprint(file, r.line())
		for d, f := range found {
			if verbose {
				fmt.Fprintf(os.Stderr, "%s: %s %v\n", r.String(), dimensions[d], f)
			}
			if !r.laws[d].allows(f.growth()) {
				t.Errorf("%s is %s in %s, but: %v", r.String(), names[r.laws[d]], dimensions[d], f)
			}
		}
	}
}

// instrumented builds this command with coverage counters and runs it.
func instrumented(args []string) error {
	dir, err := os.MkdirTemp("", "laws")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "laws.exe")
	// Without the main package there would be no counters at all; its own few are the same at each
	// size.
	build := exec.Command("go", "build", "-cover", "-covermode=atomic",
		"-coverpkg="+library+","+library+"/internal/...,"+library+"/modeltest/laws", "-o", binary, library+"/modeltest/laws")
	table := filepath.Join(dir, "table")
	run := exec.Command(binary, args...)
	run.Env = append(os.Environ(), inside+"="+table, "GOCOVERDIR="+dir) // it wants to write a profile at its end
	for _, c := range []*exec.Cmd{build, run} {
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return err
		}
	}
	printed, err := os.ReadFile(table)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(printed)
	return err
}

// found is what the calls cost at a size and at eight times that.
type found [2]float64

func (f found) growth() float64 { return f[1] / f[0] }

func (f found) String() string {
	return fmt.Sprintf("%.1f, then %.1f: × %.2f", f[0], f[1], f.growth())
}

// measure measures a row in each dimension.
func measure(t *testing.T, r *row) (all [len(dimensions)]found) {
	small := count(t, r, base)
	for d := range all {
		large := base
		large[d] *= times
		all[d] = found{small, count(t, r, large)}
	}
	return all
}

// count returns what a call of the row costs at a size.
func count(t *testing.T, r *row, size size) (work float64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, r, size)
		r.run(w)
		w.close()
		work = float64(w.work) / float64(w.calls)
	})
	return work
}

// header returns the head of the table.
func header() string {
	return "| call | " + strings.Join(dimensions[:], " | ") + " |\n|---|" + strings.Repeat("---|", len(dimensions)) + "\n"
}

// line returns a row as it is in the table.
func (r *row) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", r.String())
	for _, l := range r.laws {
		fmt.Fprintf(&b, " %s |", names[l])
	}
	b.WriteByte('\n')
	return b.String()
}

func (r *row) String() string {
	if r.when == "" {
		return r.call
	}
	return r.call + ", " + r.when
}

// counted returns the sum of all coverage counters.
func counted() (uint64, error) {
	var buffer strings.Builder
	if err := coverage.WriteCounters(&buffer); err != nil {
		return 0, err
	}
	return sumCounters(strings.NewReader(buffer.String()))
}
