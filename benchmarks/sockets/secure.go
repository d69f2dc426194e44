package sockets

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"sync"
)

// secure are clients over TLS. They do not look at what they get.
type secure struct {
	conns   []*tls.Conn
	readers sync.WaitGroup
}

// dial adds a client, which reads or never does.
func (s *secure) dial(addr string, framing Framing, read bool) error {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // it is our own
	if err != nil {
		return err
	}
	s.conns = append(s.conns, conn)
	if _, err := conn.Write(request(addr, framing, secureDevices+len(s.conns))); err != nil {
		return err
	}
	if _, err := http.ReadResponse(bufio.NewReaderSize(conn, maxHead), nil); err != nil {
		return err
	}
	if read {
		s.readers.Go(func() { _, _ = io.Copy(io.Discard, conn) }) // until it is closed
	}
	return nil
}

// secureDevices is above the numbers of devices without TLS.
const secureDevices = 1 << 20

func (s *secure) close() {
	for _, conn := range s.conns {
		_ = conn.NetConn().Close() // without a word that a full connection would hold up
	}
	s.readers.Wait()
}
