//go:build !purego

package seglog

import "unsafe"

// prefetch asks the processor for the line of its cache at p and the next one, and waits for neither. p may point anywhere.
//
//go:noescape
func prefetch(p unsafe.Pointer)
