// Dashboard shows 500 live values to any number of pages over Server-Sent Events. A page that is
// slow or reconnects gets all current values instead of the changes that it has missed.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

//go:embed dashboard.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:8080", "listen on this `address`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		fmt.Printf("open http://%s\n", ln.Addr())
		err = serve(ctx, ln)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve serves pages until ctx ends.
func serve(ctx context.Context, ln net.Listener) error {
	broker, err := broadcast.New[update](
		broadcast.WithBuffer(16),
		broadcast.WithPatience(0), // nobody waits for a page that is slow: it begins anew
	)
	if err != nil {
		return err
	}
	var values table
	streams, err := newStreams(broker, &values, broadcastsse.LocalHosts(ln.Addr()))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.Handle("GET /events", streams)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	measuring, stop := context.WithCancel(ctx)
	var measured sync.WaitGroup
	measured.Go(func() { measure(measuring, broker, &values) })
	defer measured.Wait()
	defer stop()

	// The end: deliver what was accepted; wait until the streams have ended; end the rest.
	return broadcastsse.ServeUntil(ctx, server, ln, 10*time.Second, broker.Shutdown, streams.Drain)
}

// newStreams returns the server of the streams. When a stream begins, and whenever it has lost
// changes, its page gets all values.
func newStreams(
	broker *broadcast.Broker[update], values *table, hosts []string,
) (*broadcastsse.Server[update], error) {
	return broadcastsse.New(broker, broadcastsse.Options[update]{
		Admit: func(*http.Request) (broadcastsse.Ticket, error) {
			return broadcastsse.Ticket{Chat: "values"}, nil // your login goes here
		},
		Event: func(dst []byte, e broadcastsse.Event) []byte {
			if e.Kind == broadcastsse.Heartbeat || e.Kind == broadcastsse.Ended {
				return broadcastsse.AppendEvent(dst, e)
			}
			text, _ := json.Marshal(values.all()) // cannot fail
			return append(dst, text...)
		},
		Hosts: hosts, // or a page of another site could give its name to a local address
	})
}

// measure makes up measurements and publishes the changes until ctx ends. In a real service, each
// source calls set whenever it has a new value, at any rate.
func measure(ctx context.Context, broker *broadcast.Broker[update], values *table) {
	var now [sensors]float64
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for range sensors / 5 {
			id := rand.IntN(sensors)
			now[id] += rand.NormFloat64()
			values.set(id, now[id])
		}
		if changes := values.takeChanges(); len(changes.Values) > 0 {
			_ = broker.Publish(ctx, "values", changes) // fails only at the end
		}
	}
}
