// Chat is the smallest complete service on the library. Pages post messages over HTTP and receive
// them over a WebSocket, starting with the last messages of their chat. A client that is too slow
// is disconnected, reconnects, and misses nothing that is still kept.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// message is what people send, and what the WebSocket delivers in a frame beside its position.
type message struct {
	From string `json:"from"`
	Text string `json:"text"`
}

//go:embed chat.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:8080", "listen on this `address`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		fmt.Printf("open http://%s/general in two tabs\n", ln.Addr())
		err = serve(ctx, ln)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve serves chats until ctx ends, and then delivers every accepted message.
func serve(ctx context.Context, ln net.Listener) error {
	broker, err := broadcast.New[message](
		broadcast.WithHistory(200, time.Hour),        // to begin with, and for those who come back
		broadcast.WithSampling(broadcast.Disconnect), // instead of gaps: the page resumes
		broadcast.WithMaxChats(1_000),
		broadcast.WithMaxSubscribers(1_000),
	)
	if err != nil {
		return err
	}
	sockets, err := broadcastws.New(broker, broadcastws.Options[message]{
		Admit: func(r *http.Request) (broadcastws.Ticket, error) {
			return broadcastws.Ticket{Chat: r.PathValue("chat")}, nil // your login goes here
		},
		Replay: 200,
	})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{chat}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.Handle("GET /{chat}/socket", sockets)
	mux.HandleFunc("POST /{chat}", func(w http.ResponseWriter, r *http.Request) { post(w, r, broker) })
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	// Pages of other sites may not post, nor give their own host name to a local address.
	sameOrigin := http.NewCrossOriginProtection().Handler(mux)
	server := &http.Server{
		Handler:           broadcastws.OnlyHosts(broadcastws.LocalHosts(ln.Addr()), sameOrigin),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
	}

	// The end: refuse posts and deliver what was accepted; close the sockets; close the rest.
	return broadcastws.ServeUntil(ctx, server, ln, 10*time.Second, broker.Shutdown, sockets.Drain)
}

// post publishes the message in the body of a request.
func post(w http.ResponseWriter, r *http.Request, broker *broadcast.Broker[message]) {
	var m message
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(&m)
	if err != nil || m.From == "" || m.Text == "" || len(m.From) > 100 || len(m.Text) > 4_000 {
		http.Error(w, `want {"from":"ann","text":"hello"}, up to 4000 bytes`, http.StatusBadRequest)
		return
	}
	if err := broker.Publish(r.Context(), r.PathValue("chat"), m); err != nil {
		broadcastws.RefusalOf(err).ServeHTTP(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
