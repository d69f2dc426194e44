package main

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
)

// unneededFiles returns the files with external tests in a folder that some tests can do without.
// To compile them would be most of the time that a fault with a build of its own costs.
//
// A file is needed if it declares one of the tests, or TestMain, or anything that a needed file
// uses.
func unneededFiles(dir string, tests []string) (unneeded []string, err error) {
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if match, err := build.Default.MatchFile(dir, filepath.Base(name)); err != nil || !match {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(file.Name.Name, "_test") {
			files = append(files, file)
		}
	}
	// What is imported is not known here, so that there are errors, but what is declared in the
	// package itself is found.
	info := types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: empty{}, Error: func(error) {}}
	pkg, _ := config.Check(dir, fset, files, &info)
	fileOf := func(pos token.Pos) string { return fset.Position(pos).Filename }
	uses := make(map[string][]string)
	for name, object := range info.Uses {
		if object.Pkg() == pkg {
			uses[fileOf(name.Pos())] = append(uses[fileOf(name.Pos())], fileOf(object.Pos()))
		}
	}

	needed := make(map[string]bool)
	var need func(string)
	need = func(file string) {
		if !needed[file] {
			needed[file] = true
			for _, used := range uses[file] {
				need(used)
			}
		}
	}
	for _, name := range append([]string{"TestMain"}, tests...) {
		if object := pkg.Scope().Lookup(name); object != nil {
			need(fileOf(object.Pos()))
		}
	}
	for _, file := range files {
		if name := fileOf(file.Pos()); !needed[name] {
			unneeded = append(unneeded, name)
		}
	}
	return unneeded, nil
}

// empty imports packages without anything in them.
type empty struct{}

func (empty) Import(path string) (*types.Package, error) {
	pkg := types.NewPackage(path, filepath.Base(path))
	pkg.MarkComplete()
	return pkg, nil
}
