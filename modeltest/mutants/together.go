package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// together is many faults in one text of the library, so that one build of a package's tests does
// for all of them. A process has at most one of them: the environment variable plantedFault has its
// number. Each function that a fault changes is there twice: as it was, and as the fault has it.
// The first calls the second if the fault is the one that the process has.
type together struct {
	changed map[string]string // the files of the library, and new ones
	number  map[string]int    // of a fault, by its name, from 1
}

// plantedFault is the name of the environment variable, and of the variable of each package that
// has its value.
const plantedFault = "plantedFault"

// plantTogether plants the faults that can be: those that change nothing but bodies of functions.
func plantTogether(root string, faults []fault) (*together, error) {
	t := &together{make(map[string]string), make(map[string]int)}
	variants := make(map[string][]variant) // by file
	texts := make(map[string]string)
	for i := range faults {
		f := &faults[i]
		if f.needsAnotherCopy() {
			continue
		}
		planted, err := f.plant(root)
		if err != nil {
			continue // try says so
		}
		original, err := f.touched(root)
		if err != nil {
			return nil, err
		}
		found, ok := variantsOf(original, planted, i+1)
		if !ok {
			continue
		}
		t.number[f.name] = i + 1
		maps.Copy(texts, original)
		for file, more := range found {
			variants[file] = append(variants[file], more...)
		}
	}
	for file, all := range variants {
		t.changed[file] = weave(texts[file], all)
		name, _ := parser.ParseFile(token.NewFileSet(), file, texts[file], parser.PackageClauseOnly)
		t.changed[path.Join(path.Dir(file), "planted.go")] = fmt.Sprintf(
			"package %s\n\nimport (\n\t\"os\"\n\t\"strconv\"\n)\n\nvar %s, _ = strconv.Atoi(os.Getenv(%[2]q))\n",
			name.Name.Name, plantedFault)
	}
	return t, nil
}

// needsAnotherCopy reports whether a test of the fault takes a copy of the library of its own.
func (f *fault) needsAnotherCopy() bool {
	return slices.ContainsFunc(f.tests, func(t test) bool { return t.dir == laws })
}

// A variant is a function as a fault has it.
type variant struct {
	number int    // of the fault
	after  int    // where in the file the body of the original begins, after its brace
	call   string // of the variant, by the original
	text   string
}

// variantsOf returns the functions that a fault changes, by file, or false if it changes anything
// else, or a function that cannot be called by another in its stead.
func variantsOf(original, planted map[string]string, number int) (map[string][]variant, bool) {
	all := make(map[string][]variant)
	for file, text := range planted {
		if strings.HasSuffix(file, "_test.go") {
			return nil, false
		}
		was, err := parse(original[file])
		if err != nil {
			return nil, false
		}
		is, err := parse(text)
		if err != nil || len(is.decls) != len(was.decls) {
			return nil, false
		}
		for i, before := range was.decls {
			after := is.decls[i]
			if was.source(before) == is.source(after) {
				continue
			}
			v, ok := variantOf(was, is, before, after, number)
			if !ok {
				return nil, false
			}
			all[file] = append(all[file], v)
		}
	}
	return all, true
}

// variantOf returns the variant of a declaration that a fault changes.
func variantOf(was, is source, before, after ast.Decl, number int) (v variant, ok bool) {
	f, ok := before.(*ast.FuncDecl)
	if !ok || f.Body == nil {
		return v, false
	}
	g, ok := after.(*ast.FuncDecl)
	if !ok || g.Body == nil || was.head(f) != is.head(g) || recovers(f) || recovers(g) {
		return v, false
	}
	name := "planted" + strconv.Itoa(number) + g.Name.Name // not exported, so that nothing else sees it
	call, ok := callOf(f, name)
	if !ok {
		return v, false
	}
	start, end := is.offset(g.Pos()), is.offset(g.End())
	return variant{
		number: number,
		after:  was.offset(f.Body.Lbrace) + 1,
		call:   call,
		text:   is.text[start:is.offset(g.Name.Pos())] + name + is.text[is.offset(g.Name.End()):end],
	}, true
}

// callOf returns a statement that calls a function with another name instead of f, in the body of
// f, or false if f gives no names to what it is called with.
func callOf(f *ast.FuncDecl, name string) (call string, ok bool) {
	if f.Recv != nil {
		if len(f.Recv.List[0].Names) == 0 || f.Recv.List[0].Names[0].Name == "_" {
			return "", false
		}
		name = f.Recv.List[0].Names[0].Name + "." + name
	}
	if f.Type.TypeParams != nil {
		types, _ := names(f.Type.TypeParams)
		name += "[" + strings.Join(types, ", ") + "]"
	}
	arguments, ok := names(f.Type.Params)
	call = name + "(" + strings.Join(arguments, ", ") + ")"
	if f.Type.Results != nil {
		return "return " + call, ok
	}
	return call + "; return", ok
}

// names returns the names of parameters, or false if one has none.
func names(fields *ast.FieldList) (all []string, ok bool) {
	for _, field := range fields.List {
		_, variadic := field.Type.(*ast.Ellipsis)
		for _, name := range field.Names {
			if name.Name == "_" {
				return nil, false
			}
			all = append(all, name.Name)
			if variadic {
				all[len(all)-1] += "..."
			}
		}
		if len(field.Names) == 0 {
			return nil, false
		}
	}
	return all, true
}

// recovers reports whether a function calls recover itself, which only works if it is deferred
// itself.
func recovers(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			name, ok := call.Fun.(*ast.Ident)
			found = found || ok && name.Name == "recover"
		}
		_, inner := n.(*ast.FuncLit)
		return !inner
	})
	return found
}

// weave adds variants to the text of a file.
func weave(text string, all []variant) string {
	slices.SortStableFunc(all, func(a, b variant) int { return cmp.Compare(a.after, b.after) })
	var b strings.Builder
	at := 0
	for _, v := range all {
		b.WriteString(text[at:v.after])
		fmt.Fprintf(&b, " if %s == %d { %s }; ", plantedFault, v.number, v.call)
		at = v.after
	}
	b.WriteString(text[at:])
	for _, v := range all {
		b.WriteString("\n" + v.text + "\n")
	}
	return b.String()
}

// source is a file of the library.
type source struct {
	text  string
	fset  *token.FileSet
	decls []ast.Decl
}

func parse(text string) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", text, parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	return source{text, fset, file.Decls}, nil
}

func (s source) offset(pos token.Pos) int { return s.fset.Position(pos).Offset }

// source returns the text of a declaration.
func (s source) source(d ast.Decl) string { return s.text[s.offset(d.Pos()):s.offset(d.End())] }

// head returns the text of a function before its body.
func (s source) head(f *ast.FuncDecl) string {
	return s.text[s.offset(f.Pos()):s.offset(f.Body.Lbrace)]
}
