package broadcast_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPromisesAndTestsNameEachOther(t *testing.T) {
	document, err := os.ReadFile("docs/promises.md")
	require.NoError(t, err)
	files := make(map[string]string)
	require.NoError(t, filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		files[filepath.ToSlash(name)] = string(text)
		return err
	}))
	require.Empty(t, disagreements(t, string(document), files), "in docs/promises.md or in the comments of tests")
}

func TestADisagreementOfPromisesAndTestsIsFound(t *testing.T) {
	document := "# Promises\n\n### 1. One\n\nTests:\n`TestA`\n`folder/x/TestB`\n\n### 2. Two\n\n`TestA`\n\n## Input\n\n| it | `TestA` |\n"
	text := "package p\n\n// Promises 1\n// and 2.\nfunc TestA() {}\n\n// Promise 1.\nfunc helper() {}\n"
	for name, test := range map[string]struct{ before, after, want string }{
		"none":                                 {},
		"a promise without a test":             {"## Input", "### 3. Three\n\n## Input", "promise 3 lists no test"},
		"a test that does not exist":           {"x/TestB", "x/TestC", "folder/x/TestC does not exist"},
		"the same where nothing is numbered":   {"it | `TestA`", "it | `TestC`", "TestC does not exist"},
		"a module that was not downloaded":     {"`TestA`\n\n##", "`TestA`\n`absent/TestC`\n\n##", ""},
		"a test that cites an unknown promise": {"and 2.", "to 3.", "TestA cites promise 3, which does not exist"},
		"the same for any other comment":       {"Promise 1.", "Promise 3.", "root_test.go:7 cites promise 3, which does not exist"},
		"a test that is cited but not listed":  {"`TestA`\n`folder", "`folder", "promise 1 does not list TestA, which cites it"},
	} {
		t.Run(name, func(t *testing.T) {
			edit := func(text string) string { return strings.Replace(text, test.before, test.after, 1) }
			found := disagreements(t, edit(document), map[string]string{
				"root_test.go":       edit(text),
				"folder/x/b_test.go": "package x\n\nfunc TestB() {}\n",
			})
			require.Equal(t, test.want, strings.Join(found, "\n"))
		})
	}
}

var (
	promise  = regexp.MustCompile(`^#+ (\d+)\. `)
	testName = regexp.MustCompile("`((?:\\w+/)*(?:Test|Fuzz)\\w+)`")
	citation = regexp.MustCompile(`[Pp]romises? (\d+(?:(?:, | and | to )\d+)*)`)
	number   = regexp.MustCompile(`(to )?(\d+)`)
	top      = regexp.MustCompile(`^(\w+/)?`) // of the folders of a file or of a test
)

// disagreements says where the document of the promises and the comments of test files contradict
// each other. Tests of a folder of which there is no file are not missed: it is another module,
// which is not downloaded with the library.
func disagreements(t *testing.T, document string, files map[string]string) (found []string) {
	t.Helper()
	cited := make(map[string][]int) // by test, or for other comments by line
	folders := make(map[string]bool)
	for file, text := range files {
		folders[top.FindString(file)] = true
		cite(t, file, text, cited)
	}
	listed := make(map[int][]string)
	for section := range strings.SplitSeq(document, "\n#") {
		n := 0
		if heading := promise.FindStringSubmatch(section); heading != nil {
			n, _ = strconv.Atoi(heading[1])
			listed[n] = nil
		}
		for _, match := range testName.FindAllStringSubmatch(section, -1) {
			name := match[1]
			listed[n] = append(listed[n], name)
			if _, ok := cited[name]; !ok && folders[top.FindString(name)] {
				found = append(found, name+" does not exist")
			}
		}
		if n > 0 && len(listed[n]) == 0 {
			found = append(found, fmt.Sprintf("promise %d lists no test", n))
		}
	}
	for who, numbers := range cited {
		for _, n := range numbers {
			switch tests, ok := listed[n]; {
			case !ok || n == 0:
				found = append(found, fmt.Sprintf("%s cites promise %d, which does not exist", who, n))
			case !slices.Contains(tests, who) && !strings.Contains(who, ":"):
				found = append(found, fmt.Sprintf("promise %d does not list %s, which cites it", n, who))
			}
		}
	}
	slices.Sort(found)
	return found
}

// cite adds which promises the comments of a file cite.
func cite(t *testing.T, name, text string, cited map[string][]int) {
	t.Helper()
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	whose := make(map[*ast.CommentGroup]string)
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
			who := path.Join(path.Dir(name), f.Name.Name)
			cited[who] = nil
			whose[f.Doc] = who
		}
	}
	for _, comment := range file.Comments {
		who, ok := whose[comment]
		if !ok {
			who = fmt.Sprintf("%s:%d", name, positions.Position(comment.Pos()).Line)
		}
		for _, match := range citation.FindAllStringSubmatch(strings.Join(strings.Fields(comment.Text()), " "), -1) {
			for _, m := range number.FindAllStringSubmatch(match[1], -1) {
				last, _ := strconv.Atoi(m[2])
				first := last
				if m[1] != "" { // a range; its first number is there already
					first = cited[who][len(cited[who])-1] + 1
				}
				for n := first; n <= last; n++ {
					cited[who] = append(cited[who], n)
				}
			}
		}
	}
}
