// Package limit bounds what single clients may do. Everything in it is safe for concurrent use.
package limit

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// Limits bound, for each name, how often something is done and how many times it is done at once.
type Limits struct{ seen *Lately[*limited] }

type limited struct {
	rate *rate.Limiter
	open atomic.Int64 // changed by those who begin and end
	max  int64
}

// New returns Limits with a rate per second, a burst, and a number that may be open at the same
// time.
func New(perSecond float64, burst, atATime int) *Limits {
	return &Limits{NewLately(func() *limited {
		return &limited{rate: rate.NewLimiter(rate.Limit(perSecond), burst), max: int64(atATime)}
	})}
}

// Enter begins something that lasts until leave is called. If that exceeds the limits of the name,
// it returns an error, and leave is nil.
func (l *Limits) Enter(name string) (leave func(), err error) {
	one := l.seen.Get(name)
	if !one.rate.Allow() {
		return nil, errTooFast
	}
	if one.open.Add(1) > one.max {
		one.open.Add(-1)
		return nil, errTooMany
	}
	return func() { one.open.Add(-1) }, nil
}

var (
	errTooFast = tooMany(time.Second, "too fast")
	errTooMany = tooMany(time.Minute, "too many at the same time")
)

func tooMany(after time.Duration, text string) error {
	e := httpjson.Errorf(http.StatusTooManyRequests, "%s", text)
	e.RetryAfter = after
	return e
}

// Count counts the connections of each client, as the ConnState of [http.Server], and closes those
// above the limit. A hijacked connection is no longer counted: call Enter for it.
func (l *Limits) Count(conn net.Conn, state http.ConnState, refused func()) {
	switch one := l.seen.Get(network(conn.RemoteAddr().String())); state {
	case http.StateNew:
		if one.open.Add(1) > one.max {
			_ = conn.Close() // its goroutine meets the error
			refused()
		}
	case http.StateHijacked, http.StateClosed:
		one.open.Add(-1)
	}
}

// Client returns a name for the client that makes a request: its IPv4 address or IPv6 network.
// Behind a proxy, this comes from X-Forwarded-For.
func Client(r *http.Request, proxy bool) string {
	if !proxy {
		return network(r.RemoteAddr)
	}
	all := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	return network(all[strings.LastIndexByte(all, ',')+1:]) // the client made up the others
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

// Lately holds a value for each of the 10 000 names that were used last.
type Lately[T any] struct {
	make  func() T
	cache *lru.Cache[string, T]
}

// NewLately returns a Lately that makes its values with a function.
func NewLately[T any](make func() T) *Lately[T] {
	cache, _ := lru.New[string, T](10_000) // fails only for a size below 1
	return &Lately[T]{make, cache}
}

// Get returns the value of a name.
func (l *Lately[T]) Get(name string) T {
	v, ok := l.cache.Get(name)
	for !ok {
		l.cache.ContainsOrAdd(name, l.make())
		v, ok = l.cache.Get(name)
	}
	return v
}
