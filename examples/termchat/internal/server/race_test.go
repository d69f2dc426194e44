//go:build race

package server

// raceEnabled makes the largest test smaller: the race detector makes it ten times slower.
const raceEnabled = true
