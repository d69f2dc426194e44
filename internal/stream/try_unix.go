//go:build unix

package stream

import (
	"net"
	"syscall"
)

// rawConn returns what a write can be tried on. It is nil for any type but the two of which it is
// known that their bytes go to the kernel as they are: one that embeds them may change them.
func rawConn(conn net.Conn) (raw syscall.RawConn) {
	switch conn := conn.(type) {
	case *net.TCPConn:
		raw, _ = conn.SyscallConn()
	case *net.UnixConn:
		raw, _ = conn.SyscallConn()
	}
	return raw
}

// attemptWrite writes what it can of the pending bytes. It returns true, which means that nobody
// needs to wait until the kernel takes more.
func (c *Conn) attemptWrite(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), c.pending)
		switch err {
		case nil:
			c.written = n
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
		default:
			c.failed = err
		}
		return true
	}
}
