//go:build !linux

package sockets

import (
	"errors"
	"time"
)

// Supported says that this system has what the clients need.
const Supported = false

// Clients need epoll.
type Clients struct{}

var errUnsupported = errors.New("the clients need Linux")

// NewClients returns an error.
func NewClients() (*Clients, error) { return nil, errUnsupported }

// Dial returns an error.
func (*Clients) Dial(string, Framing, []byte) error { return errUnsupported }

// DialStuck returns an error.
func (*Clients) DialStuck(string, Framing, []byte) error { return errUnsupported }

// Await returns an error.
func (*Clients) Await(int64, time.Duration) (bool, error) { return false, errUnsupported }

// ReadUntil returns an error.
func (*Clients) ReadUntil(time.Time) error { return errUnsupported }

// Len returns 0.
func (*Clients) Len() int { return 0 }

// Counts returns nothing.
func (*Clients) Counts() Counts { return Counts{} }

// Missing returns 0.
func (*Clients) Missing(int64) int64 { return 0 }

// Close does nothing.
func (*Clients) Close() {}
