//go:build !race

package broadcast_test

// raceEnabled says that the race detector watches, which costs time and memory that a test may have to allow for.
const raceEnabled = false
