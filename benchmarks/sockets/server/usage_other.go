//go:build !linux

package main

import "github.com/fbd86cad/broadcast/benchmarks/sockets"

// usage returns nothing: the clients need Linux, too.
func usage() sockets.Usage { return sockets.Usage{} }
