//go:build race

package parking

// stepHook is called before each atomic operation whose order matters to lots and distributors.
// Tests set it, while nothing else runs, to choose which goroutine continues.
var stepHook func()

func step() {
	if stepHook != nil {
		stepHook()
	}
}
