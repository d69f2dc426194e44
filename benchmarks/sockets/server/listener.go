package main

import "net"

// limited is a listener whose connections have small buffers in the kernel.
type limited struct {
	net.Listener
	sendBuffer int
}

// Accept implements [net.Listener].
func (l limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if err := c.(*net.TCPConn).SetWriteBuffer(l.sendBuffer); err != nil {
		_ = c.Close() // it was not used
		return nil, err
	}
	return c, nil
}
