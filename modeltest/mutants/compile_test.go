package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A fault that does not compile is seen at once too.
func TestEveryFaultCompiles(t *testing.T) {
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	faults, err := allFaults()
	if err != nil {
		t.Fatal(err)
	}
	exports, fset := exportsOf(t, root), token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	compiles := func(changed map[string]string) error {
		dirs := make(map[string]bool)
		for file := range changed {
			dirs[filepath.Dir(file)] = true
		}
		var errs []error
		for dir := range dirs {
			errs = append(errs, check(fset, imports, root, dir, changed))
		}
		return errors.Join(errs...)
	}
	all, err := plantTogether(root, faults)
	if err != nil {
		t.Fatal(err)
	}
	together := compiles(all.changed)
	for _, f := range faults {
		if together == nil && all.number[f.name] > 0 {
			continue
		}
		changed, _ := f.plant(root) // TestEveryFaultCanBePlanted says so if that fails
		if err := compiles(changed); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	if together != nil {
		t.Errorf("planted together: %v", together)
	}
}

// exportsOf returns the files with the types of all packages that the library and the sockets need,
// by import path.
func exportsOf(t *testing.T, root string) map[string]string {
	t.Helper()
	exports := make(map[string]string)
	for _, module := range []string{".", sockets} {
		list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", "./...")
		list.Dir = filepath.Join(root, module)
		list.Env = append(os.Environ(), "GOWORK=off")
		output, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		for d := json.NewDecoder(bytes.NewReader(output)); ; {
			var p struct{ ImportPath, Export string }
			if err := d.Decode(&p); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			exports[p.ImportPath] = p.Export
		}
	}
	return exports
}

// check looks whether the types of a package agree, with some of its files changed or added.
func check(
	fset *token.FileSet, imports types.Importer, root, dir string, changed map[string]string,
) error {
	texts := make(map[string]any) // nil: as it is
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		built, err := build.Default.MatchFile(filepath.Split(name))
		if err != nil {
			return err
		}
		if built && !strings.HasSuffix(name, "_test.go") {
			texts[name] = nil
		}
	}
	for file, text := range changed {
		if filepath.Dir(file) == dir && !strings.HasSuffix(file, "_test.go") {
			texts[filepath.Join(root, file)] = text
		}
	}
	var files []*ast.File
	for name, text := range texts {
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	config := types.Config{Importer: imports}
	_, err = config.Check(dir, fset, files, nil)
	return err
}
