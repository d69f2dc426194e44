package broadcast_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Functions call those of files in lower layers, and of their own file. docs/design.md has the
// layers.
func TestCallsBetweenFilesGoDown(t *testing.T) {
	layers := readLayers(t)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range sources(t) {
		require.Contains(t, layers, name, "docs/design.md does not say where it is")
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	info := types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	pkg, err := config.Check("broadcast", fset, files, &info)
	require.NoError(t, err)
	for identifier, object := range info.Uses {
		f, ok := object.(*types.Func)
		if !ok || f.Pkg() != pkg {
			continue
		}
		from, to := fset.Position(identifier.Pos()), fset.Position(f.Origin().Pos())
		if from.Filename != to.Filename && layers[from.Filename] <= layers[to.Filename] {
			t.Errorf("%v names %s of %s, which is not below", from, f.Name(), to.Filename)
		}
	}
}

// sources returns the files of the package that are not tests.
func sources(t *testing.T) (names []string) {
	t.Helper()
	all, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range all {
		if !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
	}
	return names
}

// readLayers returns the layer of each file, counted from the lowest.
func readLayers(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("docs/design.md")
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "highest first:\n\n```\n")
	require.True(t, ok)
	block, _, _ = strings.Cut(block, "```")
	lines := strings.Split(strings.TrimSpace(block), "\n")
	layers := make(map[string]int)
	for i, line := range lines {
		for name := range strings.FieldsSeq(line) {
			require.NotContains(t, layers, name+".go", "it is there twice")
			layers[name+".go"] = len(lines) - i
		}
	}
	return layers
}
