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

const answer = 42

func Answer() int {
	return answer
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

// answersFault returns a fault of that library, with its edits as in the table.
func answersFault(t *testing.T, edits string) fault {
	t.Helper()
	f, err := parseFault("a fault\ntest: TestAnswer\n@@ answers.go\n" + edits)
	if err != nil {
		t.Fatal(err)
	}
	f.name = edits
	return f
}

const wrongAnswer = "-\treturn answer\n+\treturn 41"

func TestAFaultIsKilledOrSurvivesOrIsAnError(t *testing.T) {
	verdicts := map[string]string{
		wrongAnswer:                            "killed",
		"-\treturn answer\n+\tpanic(41)":       "killed",
		"-\treturn answer\n+\tfor {\n+\t}":     "hung",
		"-\treturn answer\n+\treturn 40 + 2":   "SURVIVED",
		wrongAnswer + "\n@@ answers.go\n-gone": "ERROR",
		wrongAnswer + "\n@@ gone.go\n-gone":    "ERROR",
		// These change more than the body of a function.
		"-const answer = 42\n+const answer = 41":     "killed",
		"-const answer = 42\n+const answer = 40 + 2": "SURVIVED",
		"-const answer = 42\n+const answer = forty":  "ERROR", // does not compile
	}
	var faults []fault
	for edits := range verdicts {
		faults = append(faults, answersFault(t, edits))
	}
	l := newAnswers(t)
	limits, err := l.sound(t.Context(), faults)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(l.together.number); n != 4 {
		t.Errorf("%d faults are planted together instead of 4", n)
	}
	limits[test{pkg{dir: "."}, "TestAnswer"}] = 2 * time.Second // for what hangs
	for _, f := range faults {
		if verdict, output := l.try(t.Context(), &f, limits, 1); verdict != verdicts[f.name] {
			t.Errorf("%q: %s instead of %s\n%s", f.name, verdict, verdicts[f.name], output)
		}
	}
}

func TestTestsThatAreNotThereOrDoNotPassAreRefused(t *testing.T) {
	l := newAnswers(t)
	f := answersFault(t, wrongAnswer)
	f.tests = append(f.tests, test{pkg{dir: "."}, "TestMissing"})
	if _, err := l.sound(t.Context(), []fault{f}); err == nil {
		t.Error("a test that is not there was found")
	}
	other := strings.Replace(answers["expected_test.go"], "42", "1", 1)
	if err := os.WriteFile(filepath.Join(l.root, "expected_test.go"), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.sound(t.Context(), []fault{answersFault(t, wrongAnswer)}); err == nil {
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
