package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// Options say which server and room a client joins, under which name, and how long it waits. A zero
// duration means the default.
type Options struct {
	Addr  string // host:port of the server
	Room  string
	Name  string
	Token string      // proves the name to a server that requires it
	TLS   *tls.Config // nil: nothing is encrypted

	MinBackoff  time.Duration // the first wait before reconnecting, on average; default 250 ms
	MaxBackoff  time.Duration // the longest; default 15 s
	Idle        time.Duration // a connection that is silent for so long is lost; default 30 s
	DialTimeout time.Duration // default 10 s
}

// withDefaults returns the options with defaults filled in and names normalised, or what is wrong
// with them.
func (o Options) withDefaults() (Options, error) {
	var badRoom, badName, badAddr error
	o.Room, badRoom = wire.Name("room", o.Room)
	o.Name, badName = wire.Name("name", o.Name)
	if o.Addr == "" {
		badAddr = errors.New("the server's address is missing")
	}
	o.MinBackoff = cmp.Or(o.MinBackoff, 250*time.Millisecond)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, 15*time.Second)
	o.Idle = cmp.Or(o.Idle, 30*time.Second)
	o.DialTimeout = cmp.Or(o.DialTimeout, 10*time.Second)
	return o, errors.Join(badRoom, badName, badAddr)
}

// url returns an address on the server.
func (o Options) url(path string, query url.Values) string {
	scheme := "http://"
	if o.TLS != nil {
		scheme = "https://"
	}
	return scheme + o.Addr + path + "?" + query.Encode()
}

// header returns what goes with each request.
func (o Options) header() http.Header {
	h := make(http.Header)
	if o.Token != "" {
		h.Set("Authorization", "Bearer "+o.Token)
	}
	return h
}

// transport returns a transport that makes a connection for each request.
func (o Options) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: o.DialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(receiveBuffer) // a larger one would hide that the client is slow
			}
			return conn, err
		},
		TLSClientConfig:       o.TLS,
		TLSHandshakeTimeout:   o.DialTimeout,
		DisableKeepAlives:     true,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		ExpectContinueTimeout: o.Idle / 2,
		ResponseHeaderTimeout: 2 * o.Idle, // begins when all is sent; the server writes the file to its disk first
	}
}
