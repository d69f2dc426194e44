//go:build !amd64 || purego

package seglog

import "unsafe"

// prefetch does nothing: what it would gain on this processor was not measured.
func prefetch(unsafe.Pointer) {}
