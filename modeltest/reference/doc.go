// Package reference runs the library beside a reference broker: the promises as a program, in the
// plainest way, lists and a clock that is a number. Random operations are done to both, and after
// every one of them all that can be seen must be equal.
//
// It is all tests. Run more of them, and longer ones, with
//
//	go test ./modeltest/reference -rapid.checks=20000 -rapid.steps=60 -timeout 0
package reference
