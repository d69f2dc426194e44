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

	"github.com/fbd86cad/broadcast/broadcastsse"
)

// Limits bound, for each of the 10 000 names that were used last, how often something is done and
// how many times it is done at once.
type Limits struct {
	often   rate.Limit
	burst   int
	atATime int64
	seen    *lru.Cache[string, *limited]
}

type limited struct {
	rate *rate.Limiter
	open atomic.Int64 // changed by those who begin and end
}

// New returns Limits with a rate per second, a burst, and a number that may be open at the same
// time.
func New(perSecond float64, burst, atATime int) *Limits {
	seen, _ := lru.New[string, *limited](10_000) // fails only for a size below 1
	return &Limits{rate.Limit(perSecond), burst, int64(atATime), seen}
}

func (l *Limits) of(name string) *limited {
	one := &limited{rate: rate.NewLimiter(l.often, l.burst)}
	if old, ok, _ := l.seen.PeekOrAdd(name, one); ok {
		l.seen.Get(name) // it was used
		return old
	}
	return one
}

// Enter begins something that lasts until leave is called. If that exceeds the limits of the name,
// it returns an error, and leave is nil.
func (l *Limits) Enter(name string) (leave func(), err error) {
	one := l.of(name)
	if !one.rate.Allow() {
		return nil, &broadcastsse.Refusal{Status: http.StatusTooManyRequests, Text: "too fast", RetryAfter: time.Second}
	}
	if one.open.Add(1) > l.atATime {
		one.open.Add(-1)
		return nil, &broadcastsse.Refusal{Status: http.StatusTooManyRequests, Text: "too many at the same time", RetryAfter: time.Minute}
	}
	return func() { one.open.Add(-1) }, nil
}

// ConnState returns the ConnState of an [http.Server] whose connections it counts by client, and
// closes those above the limit. A hijacked connection is no longer counted: call Enter for it.
func (l *Limits) ConnState(refused func()) func(net.Conn, http.ConnState) {
	return func(conn net.Conn, state http.ConnState) {
		switch one := l.of(network(conn.RemoteAddr().String())); state {
		case http.StateNew:
			if one.open.Add(1) > l.atATime {
				_ = conn.Close() // its goroutine meets the error
				refused()
			}
		case http.StateHijacked, http.StateClosed:
			one.open.Add(-1)
		}
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
	ip = ip.Unmap()
	prefix, _ := ip.Prefix(min(64, ip.BitLen())) // fails only for that
	return prefix.String()
}
