//go:build !race

package parking

// step does nothing in builds without the race detector.
func step() {}
