// Package cluster holds a model of a chat that three nodes share, and a test that compares package
// internal/cluster with it. It is all tests.
package cluster
