package sockets

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// patience is how long nothing may come before what is missing counts as lost.
const patience = 5 * time.Second

// Turn is a server with its clients.
type Turn struct {
	Server  *Server
	Clients *Clients

	settings Settings
	secure   secure
}

// Begin starts a server, connects so many clients, and returns when each has received something.
// End must be called.
func Begin(p *Program, set Settings, clients int) (*Turn, error) {
	server, err := p.Start(set)
	if err != nil {
		return nil, err
	}
	t := &Turn{Server: server, settings: set}
	if t.Clients, err = NewClients(); err != nil {
		server.Stop()
		return nil, err
	}
	if err := t.More(clients); err != nil {
		t.End()
		return nil, err
	}
	return t, nil
}

// More connects so many clients more, and returns when each has received something.
func (t *Turn) More(clients int) error {
	for range clients {
		if err := t.Clients.Dial(t.Server.Addr, t.settings.Framing, t.settings.Hello); err != nil {
			return err
		}
	}
	return t.settle()
}

// End stops the server, and closes the clients.
func (t *Turn) End() {
	t.Server.Stop()
	t.Clients.Close()
	t.secure.close()
}

// Secure connects so many clients over TLS, which read or never do.
func (t *Turn) Secure(clients int, read bool) error {
	for range clients {
		if err := t.secure.dial(t.Server.SecureAddr, t.settings.Framing, read); err != nil {
			return err
		}
	}
	return nil
}

// settle publishes messages until one has come to all: some servers subscribe a client only after
// they have answered it.
func (t *Turn) settle() error {
	for began := time.Now(); time.Since(began) < patience; {
		last, err := t.Server.Publish(1)
		if err != nil {
			return err
		}
		if err := t.Server.Published(); err != nil {
			return err
		}
		if all, err := t.Clients.Await(last, 50*time.Millisecond); all || err != nil {
			return err
		}
	}
	return errors.New("some clients get nothing")
}

// Round publishes messages back to back, and returns how long it took until the last client had
// them all.
func (t *Turn) Round(messages int) (time.Duration, error) {
	began := time.Now()
	last, err := t.Server.Publish(messages)
	if err != nil {
		return 0, err
	}
	all, err := t.Clients.Await(last, patience)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if !all {
		missing := t.Clients.Missing(last)
		return 0, fmt.Errorf("%d messages are missing, of %d to each client", missing, last)
	}
	return took, t.Server.Published()
}

// Rounds are what a number of rounds has taken.
type Rounds struct {
	Deliveries float64
	Latencies  []time.Duration // until the last client had all, sorted
	Took       time.Duration
	Used       Usage // CPU and Writes
	Received   Counts
}

// Repeat makes rounds for a while, but at least so many.
func (t *Turn) Repeat(messages int, least int, atLeast time.Duration) (r Rounds, err error) {
	for range 3 { // caches, pools, the sizes of buffers
		if _, err := t.Round(messages); err != nil {
			return r, err
		}
	}
	before, err := t.Server.Usage()
	if err != nil {
		return r, err
	}
	counts, began := t.Clients.Counts(), time.Now()
	for len(r.Latencies) < least || time.Since(began) < atLeast {
		took, err := t.Round(messages)
		if err != nil {
			return r, err
		}
		r.Latencies = append(r.Latencies, took)
		r.Took += took
	}
	after, err := t.Server.Usage()
	if err != nil {
		return r, err
	}
	r.Used = Usage{CPU: after.CPU - before.CPU, Writes: after.Writes - before.Writes}
	received := t.Clients.Counts()
	r.Received = Counts{received.Frames - counts.Frames, received.Bytes - counts.Bytes, received.Lost}
	r.Deliveries = float64(len(r.Latencies) * messages * t.Clients.Len())
	slices.Sort(r.Latencies)
	if received.Lost > 0 {
		err = fmt.Errorf("%d messages were lost", received.Lost)
	}
	return r, err
}

// Steady publishes so many messages one after the other, at even intervals, and returns what the
// server has used and how many deliveries there were.
func (t *Turn) Steady(
	messages int, interval time.Duration,
) (used Usage, deliveries float64, err error) {
	before, err := t.Server.Usage()
	if err != nil {
		return used, 0, err
	}
	var last int64
	for next := time.Now(); messages > 0; messages-- {
		if last, err = t.Server.Publish(1); err != nil {
			return used, 0, err
		}
		if err := t.Server.Published(); err != nil {
			return used, 0, err
		}
		deliveries += float64(t.Clients.Len())
		next = next.Add(interval)
		if err := t.Clients.ReadUntil(next); err != nil {
			return used, 0, err
		}
	}
	all, err := t.Clients.Await(last, patience)
	if err == nil && !all {
		err = fmt.Errorf("%d messages are missing", t.Clients.Missing(last))
	}
	after, errAfter := t.Server.Usage()
	used = Usage{CPU: after.CPU - before.CPU, Writes: after.Writes - before.Writes}
	return used, deliveries, errors.Join(err, errAfter)
}

// Stick connects so many clients that never read.
func (t *Turn) Stick(clients int) error {
	for range clients {
		if err := t.Clients.DialStuck(t.Server.Addr, t.settings.Framing, t.settings.Hello); err != nil {
			return err
		}
	}
	return nil
}

// Tidied returns the usage of the server when its garbage is collected.
func (t *Turn) Tidied() (Usage, error) {
	if err := t.Server.Tidy(); err != nil {
		return Usage{}, err
	}
	return t.Server.Usage()
}
