package main

import (
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// fault is a known fault, as edits of the library's files, and the tests that must go red for it.
type fault struct {
	name  string
	tests []test
	edits []edit
}

// test is a test function of the library.
type test struct {
	pkg
	name string
}

// pkg is a package of the library and how it is built.
type pkg struct {
	dir  string // "." for the root
	race bool   // with the race detector
}

// edit replaces whole lines, which must occur exactly once.
type edit struct {
	file, find, replace string
}

//go:embed faults
var table embed.FS

// allFaults reads the table: the files in the folder faults, in their order. An entry is
//
//	fault: what is wrong, in words
//	test: the test that must go red, with a folder before its name if it is not the root;
//	      -race in front if only that detects it;
//	      of other modules than the library's only broadcastws and modeltest/laws
//	@@ the file; more such hunks for more edits
//	 a line that stays
//	-a line that goes
//	+a line that comes
//
// and ends with an empty line. Lines between entries are comments.
func allFaults() (all []fault, err error) {
	files, err := table.ReadDir("faults")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := table.ReadFile(path.Join("faults", file.Name()))
		if err != nil {
			return nil, err
		}
		for entry := range strings.SplitSeq(string(text), "\n\n") {
			if _, entry, ok := strings.Cut("\n"+entry, "\nfault: "); ok {
				f, err := parseFault(entry)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", file.Name(), err)
				}
				all = append(all, f)
			}
		}
	}
	return all, nil
}

// parseFault reads an entry of the table, without its first word.
func parseFault(entry string) (f fault, err error) {
	lines := strings.Split(strings.TrimRight(entry, "\n"), "\n")
	f.name = lines[0]
	var e *edit
	for _, line := range lines[1:] {
		mark, rest := line[:min(1, len(line))], line[min(1, len(line)):]
		switch {
		case strings.HasPrefix(line, "test: ") && e == nil:
			f.tests = append(f.tests, parseTest(strings.TrimPrefix(line, "test: ")))
		case strings.HasPrefix(line, "@@ "):
			f.edits = append(f.edits, edit{file: strings.TrimPrefix(line, "@@ ")})
			e = &f.edits[len(f.edits)-1]
		case e == nil || mark == "" || !strings.Contains(" -+", mark):
			return f, fmt.Errorf("%s: not a line of an entry: %q", f.name, line)
		default:
			if mark != "+" {
				e.find += rest + "\n"
			}
			if mark != "-" {
				e.replace += rest + "\n"
			}
		}
	}
	if len(f.tests) == 0 || len(f.edits) == 0 {
		return f, fmt.Errorf("%s: without a test or an edit", f.name)
	}
	return f, nil
}

// touched returns the files of the library under root that the fault changes.
func (f *fault) touched(root string) (map[string]string, error) {
	files := make(map[string]string)
	for _, e := range f.edits {
		text, err := os.ReadFile(filepath.Join(root, e.file))
		if err != nil {
			return nil, err
		}
		files[e.file] = string(text)
	}
	return files, nil
}

// plant returns the files of the library under root that the fault changes, with their new text. A
// text that is not found, or more than once, is an error: then the library has changed, and the
// table must follow.
func (f *fault) plant(root string) (map[string]string, error) {
	changed, err := f.touched(root)
	if err != nil {
		return nil, err
	}
	for _, e := range f.edits {
		text := changed[e.file]
		if n := strings.Count("\n"+text, "\n"+e.find); n != 1 {
			return nil, fmt.Errorf("%s has these lines %d times instead of once:\n%s", e.file, n, e.find)
		}
		changed[e.file] = strings.Replace("\n"+text, "\n"+e.find, "\n"+e.replace, 1)[1:]
	}
	return changed, nil
}

// parseTest reads a test as it is written in the table.
func parseTest(text string) test {
	text, race := strings.CutPrefix(text, "-race ")
	dir, name := path.Split(text)
	return test{pkg{path.Clean(dir), race}, name}
}

// String returns the test as it is written in the table.
func (t test) String() string {
	name := path.Join(t.dir, t.name)
	if t.race {
		return "-race " + name
	}
	return name
}

// testsOf returns the names of the tests that faults name, by package, each once.
func testsOf(faults []fault) map[pkg][]string {
	names := make(map[pkg][]string)
	for _, f := range faults {
		for _, t := range f.tests {
			if !slices.Contains(names[t.pkg], t.name) {
				names[t.pkg] = append(names[t.pkg], t.name)
			}
		}
	}
	return names
}
