package main

import (
	"bytes"
	"encoding/json"
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
	for _, f := range faults {
		changed, err := f.plant(root)
		if err != nil {
			continue // TestEveryFaultCanBePlanted says so
		}
		dirs := make(map[string]bool)
		for file := range changed {
			dirs[filepath.Dir(file)] = true
		}
		for dir := range dirs {
			if err := check(fset, imports, root, dir, changed); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
		}
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

// check looks whether the types of a package agree, with some of its files changed.
func check(
	fset *token.FileSet, imports types.Importer, root, dir string, changed map[string]string,
) error {
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		return err
	}
	var files []*ast.File
	for _, name := range names {
		built, err := build.Default.MatchFile(filepath.Split(name))
		if err != nil {
			return err
		}
		if !built || strings.HasSuffix(name, "_test.go") {
			continue
		}
		var source any
		if text, ok := changed[filepath.Join(dir, filepath.Base(name))]; ok {
			source = text
		}
		f, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	config := types.Config{Importer: imports}
	_, err = config.Check(dir, fset, files, nil)
	return err
}
