// Package limit bounds what single clients may do. Everything in it is safe for concurrent use.
package limit

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// Clients tells the clients of a server apart: IPv4 addresses and IPv6 networks.
type Clients struct {
	proxy bool
	seen  *Lately[*client]
}

type client struct {
	rate *rate.Limiter
	open atomic.Int64 // connections; changed by those who begin and end them
	max  int64
}

// NewClients returns Clients that may each enter so often a second, so often at once, and have so
// many connections. Behind a proxy they are those that it names in X-Forwarded-For.
func NewClients(perSecond float64, burst, connections int, proxy bool) *Clients {
	return &Clients{proxy, NewLately(func() *client {
		return &client{rate: rate.NewLimiter(rate.Limit(perSecond), burst), max: int64(connections)}
	})}
}

var errTooFast = &httpjson.Error{Status: http.StatusTooManyRequests, RetryAfter: time.Second, Message: "too fast"}

var errTooMany = &httpjson.Error{
	Status: http.StatusTooManyRequests, RetryAfter: time.Minute, Message: "too many connections",
}

// Enter counts a request as something that a client may do only so often, and until leave is called
// as a connection. If that is too much, it returns an error, and leave is nil.
func (c *Clients) Enter(r *http.Request) (leave func(), err error) {
	addr := r.RemoteAddr
	if c.proxy {
		all := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
		addr = all[strings.LastIndexByte(all, ',')+1:] // the client made up the others
	}
	one := c.seen.Get(network(addr))
	if !one.rate.Allow() {
		return nil, errTooFast
	}
	if one.open.Add(1) > one.max {
		one.open.Add(-1)
		return nil, errTooMany
	}
	return func() { one.open.Add(-1) }, nil
}

// Rates limits how often something is done, for each name.
type Rates struct{ seen *Lately[*rate.Limiter] }

// NewRates returns Rates that allow so much a second, and so much at once.
func NewRates(perSecond float64, burst int) Rates {
	return Rates{NewLately(func() *rate.Limiter { return rate.NewLimiter(rate.Limit(perSecond), burst) })}
}

// Allow returns an error if it is too much.
func (r Rates) Allow(name string) error {
	if !r.seen.Get(name).Allow() {
		return errTooFast
	}
	return nil
}

// Count counts the connections of a server without a proxy, as the ConnState of [http.Server], and
// closes those that are too many. One that is hijacked is not counted any more: Enter counts it.
func (c *Clients) Count(conn net.Conn, state http.ConnState, refused func()) {
	if c.proxy {
		return
	}
	switch client := c.seen.Get(network(conn.RemoteAddr().String())); state {
	case http.StateNew:
		if client.open.Add(1) > client.max {
			_ = conn.Close() // its goroutine meets the error
			refused()
		}
	case http.StateHijacked, http.StateClosed:
		client.open.Add(-1)
	}
}

// network returns the IPv4 address, or the IPv6 network of a customer, that an address is in.
func network(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		addr = host
	}
	ip, _ := netip.ParseAddr(strings.TrimSpace(addr)) // if it is none, all of those are one client
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}

// Lately holds a value for each name that was used lately: for the last 10 000 at least, and never
// for more than twice as many.
type Lately[T any] struct {
	new func() T

	mu       sync.Mutex
	now, old map[string]T
}

// NewLately returns a Lately that makes its values with a function.
func NewLately[T any](new func() T) *Lately[T] {
	return &Lately[T]{new: new, now: make(map[string]T)}
}

// Get returns the value of a name.
func (l *Lately[T]) Get(name string) T {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.now[name]
	if ok {
		return v
	}
	if v, ok = l.old[name]; !ok {
		v = l.new()
	}
	if len(l.now) == 10_000 {
		l.now, l.old = make(map[string]T), l.now
	}
	l.now[name] = v
	return v
}

// Once does what is asked for again, such as by a client that had no answer, one time. The zero Once
// is not ready: use [NewOnce].
type Once struct{ done *Lately[*atomic.Int32] }

// What has become of something.
const (
	untried = iota
	underWay
	done
)

var errUnderWay = &httpjson.Error{Status: http.StatusConflict, RetryAfter: time.Second, Message: "the same is under way"}

// NewOnce returns a Once. It knows the last 10 000 keys at least.
func NewOnce() Once { return Once{NewLately(func() *atomic.Int32 { return new(atomic.Int32) })} }

// Do calls do, unless it has succeeded before for that client and key. While it is running for them,
// Do returns an error. An empty key is none.
func (o Once) Do(client, key string, do func() error) error {
	if key == "" {
		return do()
	}
	if len(key) > 64 {
		return httpjson.Errorf(http.StatusBadRequest, "Idempotency-Key has more than 64 bytes")
	}
	state := o.done.Get(client + "\n" + key)
	if !state.CompareAndSwap(untried, underWay) {
		if state.Load() == done {
			return nil
		}
		return errUnderWay
	}
	became := int32(untried) // should it panic
	defer func() { state.Store(became) }()
	err := do()
	if err == nil {
		became = done
	}
	return err
}
