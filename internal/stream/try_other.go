//go:build !unix

package stream

import (
	"net"
	"syscall"
)

// rawConn returns nil: on this system a write cannot be tried without waiting.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (c *Conn) attemptWrite(uintptr) bool { return true }
