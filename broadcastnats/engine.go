package broadcastnats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/engine"
)

// Options are the settings of an [Engine]. All nodes of a cluster should have the same.
type Options struct {
	// URL is the address of a server, or of several, separated by commas. "": [nats.DefaultURL].
	URL string

	// Prefix is the name of the stream, and what all subjects begin with. "": broadcast.
	Prefix string

	// Replicas is how many servers keep the stream, at most 5. It counts for the node that makes it.
	// 0: one.
	Replicas int

	// Records is how many records of each chat the stream keeps, at least. A record has the messages
	// that one node has published at about the same time in a chat: one, or many. 0: 1000.
	Records int

	// Connect are options of the connection, such as credentials. How the connection reconnects, the
	// handlers of its state, and that it gets its own messages, are not for options to change.
	Connect []nats.Option
}

// What the options are if they are not set.
const (
	defaultPrefix   = "broadcast"
	defaultReplicas = 1
	defaultRecords  = 1000
)

// What the servers allow.
const (
	mostPrefix   = 255
	mostReplicas = 5
)

// An Engine opens sessions. Make one with [New].
type Engine struct{ options Options }

// New returns an Engine, or a [broadcast.ErrInvalid]. It does not connect to a server.
func New(o Options) (*Engine, error) {
	if o.URL == "" {
		o.URL = nats.DefaultURL
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.Replicas == 0 {
		o.Replicas = defaultReplicas
	}
	if o.Records == 0 {
		o.Records = defaultRecords
	}
	switch {
	case len(o.Prefix) > mostPrefix, strings.ContainsAny(o.Prefix, " \t\r\n\f.*>/\\\x00"):
		return nil, fmt.Errorf("%w: Prefix %q is not the name of a stream", broadcast.ErrInvalid, o.Prefix)
	case o.Replicas < 0 || o.Replicas > mostReplicas:
		return nil, fmt.Errorf("%w: Replicas is %d, not 0 to 5", broadcast.ErrInvalid, o.Replicas)
	case o.Records < 0:
		return nil, fmt.Errorf("%w: Records is negative", broadcast.ErrInvalid)
	}
	if err := checkURL(o.URL); err != nil {
		return nil, fmt.Errorf("%w: URL: %w", broadcast.ErrInvalid, err)
	}
	return &Engine{o}, nil
}

// checkURL returns an error if the client could not parse one of the addresses, which are separated
// by commas. The error does not have the address, in which there may be a password.
func checkURL(addresses string) error {
	for a := range strings.SplitSeq(addresses, ",") {
		if a = strings.TrimSpace(a); !strings.Contains(a, "://") {
			a = "nats://" + a
		}
		var invalid *url.Error
		if _, err := url.Parse(a); errors.As(err, &invalid) {
			return invalid.Err
		}
	}
	return nil
}

// Times of a connection. A server that does not answer for two pings, or takes no data for as long,
// is considered gone.
const (
	dialTimeout   = 2 * time.Second
	pingInterval  = time.Second
	pings         = 2
	writeTimeout  = pings * pingInterval
	reconnectWait = 100 * time.Millisecond // after all servers have been tried; with as much jitter
)

// Open connects to a server and returns a session.
// It returns an error when ctx is done, when no server can be reached, and when the stream is used
// for something else. It waits for two seconds at most until the stream answers; if it has not by
// then, the session says when it does, and until then why it does not.
func (e *Engine) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := newSession(e.options, sink)
	opened := context.AfterFunc(ctx, s.cancel)
	err := s.connect()
	if err == nil {
		if err = s.try(maxTimeout); !errors.Is(err, errUnfit) {
			err = nil // the session tries again
		}
	}
	if !opened() {
		err = errors.Join(ctx.Err(), err, s.keeper.guess(nil))
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("broadcastnats: %w", err)
	}
	s.start()
	return s, nil
}

// connect makes the connection, and the subscriptions that do not belong to a chat.
func (s *session) connect() (err error) {
	options := []nats.Option{
		nats.Name("broadcast"),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pings),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
	}
	options = append(options, s.options.Connect...)
	options = append(
		options,
		func(o *nats.Options) error {
			o.AllowReconnect, o.NoEcho = true, false
			o.CustomDialer = &dialer{ctx: s.ctx, custom: o.CustomDialer}
			return nil
		},
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // what cannot be sent now is not sent
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { s.disconnected(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { s.keeper.note(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { s.reconnected() }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	)
	if s.conn, err = nats.Connect(s.options.URL, options...); err != nil {
		return err
	}
	return s.subscribe()
}

// A dialer dials servers for a session until its context is done, which also ends a handshake.
type dialer struct {
	ctx    context.Context
	custom nats.CustomDialer // from the options; nil if there is none

	mu   sync.Mutex
	stop func() bool // of what closes the last connection
}

// Dial implements [nats.CustomDialer].
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.dial(network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
	d.stop = context.AfterFunc(d.ctx, func() { _ = c.Close() }) // it is not needed any more
	return connection{c}, nil
}

func (d *dialer) dial(network, address string) (net.Conn, error) {
	if d.custom != nil {
		return d.custom.Dial(network, address)
	}
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(d.ctx, network, address)
}

// SkipTLSHandshake is for the client, which asks a custom dialer.
func (d *dialer) SkipTLSHandshake() bool {
	custom, ok := d.custom.(interface{ SkipTLSHandshake() bool })
	return ok && custom.SkipTLSHandshake()
}

// A connection ends when the server does not take what is written to it. The client holds its lock
// until then, so that every call waits. It loses what could not be written, which must not go
// unnoticed.
type connection struct{ net.Conn }

func (c connection) Write(data []byte) (n int, err error) {
	if err = c.SetWriteDeadline(time.Now().Add(writeTimeout)); err == nil {
		n, err = c.Conn.Write(data)
	}
	if err != nil {
		_ = c.Close()
	}
	return n, err
}
