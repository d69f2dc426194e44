package stream

import (
	"net"
	"net/http"
	"strings"
)

// A guard refuses requests that pages of other sites make a browser send.
type guard struct {
	origins *http.CrossOriginProtection
	trusted []string
	hosts   map[string]bool // as canonical returns them; nil: any
}

func newGuard(origins, hosts []string, problems *Problems) *guard {
	g := &guard{origins: http.NewCrossOriginProtection(), trusted: origins}
	for _, origin := range origins {
		if err := g.origins.AddTrustedOrigin(origin); err != nil {
			problems.Add("Origins: %v", err)
		}
	}
	for _, host := range hosts {
		if host == "" || strings.ContainsAny(host, "/ *@") {
			problems.Add("Hosts: %q is not the name of a host", host)
		}
	}
	g.addHosts(hosts)
	return g
}

func (g *guard) addHosts(hosts []string) {
	for _, host := range hosts {
		if g.hosts == nil {
			g.hosts = make(map[string]bool)
		}
		g.hosts[canonical(host)] = true
	}
}

var errOtherHost = &Refusal{
	Status: http.StatusMisdirectedRequest, Text: "this server has another name",
}

// check returns why a request is refused, or nil.
//
// [http.CrossOriginProtection] lets every GET pass, because a GET should change nothing. One that
// opens a stream does change something, because the stream takes over from an older one of its
// device, and a browser sends it for any page, with cookies. So it is checked as if it were a POST.
func (g *guard) check(r *http.Request) *Refusal {
	if !g.knows(r.Host) {
		return errOtherHost
	}
	asPost := &http.Request{Method: http.MethodPost, Host: r.Host, URL: r.URL, Header: r.Header}
	if g.origins.Check(asPost) != nil {
		return &Refusal{Status: http.StatusForbidden, Text: "the request comes from another site"}
	}
	return nil
}

// knows reports whether a Host header names this server.
func (g *guard) knows(host string) bool {
	if g.hosts == nil {
		return true
	}
	if g.hosts[canonical(host)] {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	return err == nil && g.hosts[canonical(name)]
}

// canonical returns a host in lower case. If it has no port, it has no brackets either.
func canonical(host string) string {
	host = strings.ToLower(host)
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// LocalHosts returns the names by which this machine reaches a server at addr, if no other machine
// can.
func LocalHosts(addr net.Addr) []string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return nil
	}
	return []string{"localhost", "127.0.0.1", "::1", tcp.IP.String()}
}

// OnlyHosts returns a handler that refuses requests to other hosts, and calls next for the rest.
func OnlyHosts(hosts []string, next http.Handler) http.Handler {
	var own guard
	own.addHosts(hosts)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !own.knows(r.Host) {
			errOtherHost.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
