package main

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
)

// A change of the library that moves the lines of a fault is seen at once, and not when somebody
// plants the faults next.
func TestEveryFaultCanBePlanted(t *testing.T) {
	// All of the library is linked into this test, so that go test does not take a result from its
	// cache when the library has changed.
	for _, linked := range []reflect.Type{reflect.TypeFor[*broadcast.Broker[int]](), reflect.TypeFor[*broadcast.Subscriber[int]]()} {
		if linked.Method(linked.NumMethod()-1).Name == "" {
			t.Fatal("a method without a name")
		}
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	faults, err := allFaults()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, f := range faults {
		if _, err := f.plant(root); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		if names[f.name] {
			t.Errorf("%s: there are two of that name", f.name)
		}
		names[f.name] = true
	}
}

// answers is a library with a test, and with a test file that would not compile if it were not left
// out.
var answers = map[string]string{
	"go.mod": "module answers\n",
	"answers.go": `package answers

func Answer() int {
	return 42
}
`,
	"answers_test.go": `package answers_test

import (
	"answers"
	"testing"
)

func TestAnswer(t *testing.T) {
	if answers.Answer() != expected {
		t.Fatal("wrong")
	}
}
`,
	"expected_test.go": "package answers_test\n\nconst expected = 42\n",
	"unneeded_test.go": "package answers_test\n\nvar unneeded = missing\n",
	"inside/go.mod":    "module inside\n",
	".hidden/file.go":  "package hidden\n",
}

// newAnswers returns a copy of that library.
func newAnswers(t *testing.T) *library {
	t.Helper()
	root := t.TempDir()
	for name, text := range answers {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := copyLibrary(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOnlyTheModuleItselfIsCopied(t *testing.T) {
	l := newAnswers(t)
	for name := range maps.Keys(answers) {
		_, err := os.Stat(filepath.Join(l.root, name))
		if copied := err == nil; copied == strings.Contains(name, "/") {
			t.Errorf("%s: copied %v", name, copied)
		}
	}
}

func TestAFaultIsKilledOrSurvivesOrIsAnError(t *testing.T) {
	l := newAnswers(t)
	answer := test{pkg{dir: "."}, "TestAnswer"}
	limits, err := l.sound(t.Context(), map[pkg][]string{{dir: "."}: {answer.name}})
	if err != nil {
		t.Fatal(err)
	}
	limits[answer] = 2 * time.Second // for what hangs
	for body, want := range map[string]string{
		"\treturn 41":     "killed",
		"\tpanic(41)":     "killed",
		"\tfor {\n+\t}":   "hung",
		"\treturn 40 + 2": "SURVIVED",
		"\treturn forty":  "ERROR", // does not compile
		"\treturn 41\n@@ answers.go\n-\treturn 43": "ERROR", // is not there
	} {
		entry := "a fault\ntest: TestAnswer\n@@ answers.go\n-\treturn 42\n+" + body
		f, err := parseFault(entry)
		if err != nil {
			t.Fatal(err)
		}
		if verdict, output := l.try(t.Context(), &f, limits, 1); verdict != want {
			t.Errorf("%q: %s instead of %s\n%s", body, verdict, want, output)
		}
	}
}

func TestTestsThatAreNotThereOrDoNotPassAreRefused(t *testing.T) {
	l := newAnswers(t)
	if _, err := l.sound(t.Context(), map[pkg][]string{{dir: "."}: {"TestAnswer", "TestMissing"}}); err == nil {
		t.Error("a test that is not there was found")
	}
	other := strings.Replace(answers["expected_test.go"], "42", "1", 1)
	if err := os.WriteFile(filepath.Join(l.root, "expected_test.go"), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.sound(t.Context(), map[pkg][]string{{dir: "."}: {"TestAnswer"}}); err == nil {
		t.Error("a test that fails passed")
	}
}

func TestAnEntryThatIsNotWholeIsRefused(t *testing.T) {
	for _, entry := range []string{
		"name",
		"name\ntest: TestAnswer",
		"name\n@@ answers.go\n-a\n+b",
		"name\ntest: TestAnswer\n-a\n+b",
		"name\ntest: TestAnswer\n@@ answers.go\n-a\n*b",
		"name\ntest: TestAnswer\n@@ answers.go\n-a\n\n+b",
	} {
		if f, err := parseFault(entry); err == nil {
			t.Errorf("%q was read as %+v", entry, f)
		}
	}
}
