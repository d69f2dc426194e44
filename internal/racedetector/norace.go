//go:build !race

// Package racedetector tells tests whether the race detector is on. It costs time and memory that a
// test may have to allow for.
package racedetector

// Enabled reports whether the race detector is on.
const Enabled = false
