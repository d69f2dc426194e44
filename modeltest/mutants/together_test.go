package main

import (
	"strings"
	"testing"
)

// A function can call another in its stead if it has names for all that it was called with, and
// need not be deferred itself.
func TestAFunctionCallsItsVariant(t *testing.T) {
	for function, call := range map[string]string{
		"func f()":     "planted7f(); return",
		"func f() int": "return planted7f()",
		"func (r *R) Exported(a, b int, c ...int) (n int)": "return r.planted7Exported(a, b, c...)",
		"func (r *R[T]) method(a T)":                       "r.planted7method(a); return",
		"func f[K comparable, V any](k K, v V)":            "planted7f[K, V](k, v); return",
		"func (R) method()":                                "",
		"func (_ R) method()":                              "",
		"func f(int)":                                      "",
		"func f(a int, _ string)":                          "",
	} {
		for body, can := range map[string]bool{
			"good":                               true,
			"defer func() { recover() }(); good": true,
			"recover(); good":                    false,
		} {
			text := "package p\n\n" + function + " { " + body + " }\n"
			all, ok := variantsOf(file(text), file(strings.Replace(text, "good", "bad", 1)), 7)
			if can := can && call != ""; ok != can {
				t.Errorf("%s { %s }: found a variant: %v", function, body, ok)
			} else if can && all["p.go"][0].call != call {
				t.Errorf("%s: %q", function, all["p.go"][0].call)
			}
		}
	}
}

func file(text string) map[string]string { return map[string]string{"p.go": text} }

func TestOnlyBodiesOfFunctionsHaveVariants(t *testing.T) {
	const text = "package p\n\ntype t int\n\nvar v = 1\n\nfunc f(n int) {\n}\n"
	for _, change := range [][2]string{
		{"type t int", "type t uint"},
		{"var v = 1", "var v = 2"},
		{"n int", "n uint"},
		{"var v = 1\n", ""},
		{"var v = 1\n", "var v = 1\n\nvar w = 1\n"},
		{"package p", "package p\n\nimport \"os\""},
	} {
		if _, ok := variantsOf(file(text), file(strings.Replace(text, change[0], change[1], 1)), 1); ok {
			t.Errorf("%q instead of %q has a variant", change[1], change[0])
		}
	}
}

// Two faults may change the same function.
func TestAFunctionMayHaveSeveralVariants(t *testing.T) {
	const original = "package p\n\nfunc f() int {\n\treturn 1\n}\n\nfunc g() {}\n"
	var all []variant
	for i, change := range []string{"return 2", "return 3"} {
		found, ok := variantsOf(file(original), file(strings.Replace(original, "return 1", change, 1)), i+1)
		if !ok {
			t.Fatalf("%s has no variant", change)
		}
		all = append(all, found["p.go"]...)
	}
	want := `package p

func f() int { if plantedFault == 1 { return planted1f() };  if plantedFault == 2 { return planted2f() }; 
	return 1
}

func g() {}

func planted1f() int {
	return 2
}

func planted2f() int {
	return 3
}
`
	if woven := weave(original, all); woven != want {
		t.Errorf("got\n%s\ninstead of\n%s", woven, want)
	}
}
