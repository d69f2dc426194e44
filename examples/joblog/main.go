// Joblog runs jobs and streams their output over Server-Sent Events. A page that connects late gets
// the log from its beginning. When a job ends, its stream ends with the result, also for pages that
// connect or reconnect after that.
package main

import (
	"cmp"
	"context"
	_ "embed"
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
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// The longest log that is kept whole. Of a longer one, the last lines are kept.
const maxLines = 10_000

//go:embed joblog.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:8080", "listen on this `address`")
	flag.Parse() // what follows the flags is the command of all jobs
	command := flag.Args()
	if len(command) == 0 {
		command = []string{"sh", "-c", "for i in $(seq 20); do echo step $i; sleep 0.5; done"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		fmt.Printf("open http://%s\n", ln.Addr())
		err = serve(ctx, ln, command)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve serves pages until ctx ends, which also ends the jobs.
func serve(ctx context.Context, ln net.Listener, command []string) error {
	broker, err := broadcast.New[string](
		broadcast.WithHistory(maxLines, 0),
		broadcast.WithChatIdle(time.Hour),            // how long a log is kept after its end
		broadcast.WithSampling(broadcast.Disconnect), // no job waits: a browser resumes
		broadcast.WithMaxChats(1_000),
	)
	if err != nil {
		return err
	}
	logs, err := broadcastsse.New(broker, broadcastsse.Options[string]{
		Admit: func(r *http.Request) (broadcastsse.Ticket, error) { // your login goes here
			job := r.PathValue("job")
			if _, known, err := broker.Last(r.Context(), job); !known { // a log has a line at least
				return broadcastsse.Ticket{}, cmp.Or(err, errUnknown)
			}
			return broadcastsse.Ticket{Chat: job}, nil
		},
		Replay: maxLines,
	})
	if err != nil {
		return err
	}
	jobs := &runner{broker: broker, command: command, slots: make(chan struct{}, 4)}
	jobs.ctx, jobs.end = context.WithCancel(ctx)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("POST /jobs", jobs.start)
	mux.Handle("GET /jobs/{job}", logs)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{
		Handler:           broadcastsse.OnlyHosts(broadcastsse.LocalHosts(ln.Addr()), http.NewCrossOriginProtection().Handler(mux)),
		ReadHeaderTimeout: 5 * time.Second,
	}

	// The end: end the jobs, and with them their logs; deliver what they wrote; end the rest.
	return broadcastsse.ServeUntil(ctx, server, ln, 10*time.Second,
		jobs.stop, broker.Shutdown, logs.Drain)
}

var errUnknown error = &broadcastsse.Refusal{Status: http.StatusNotFound, Text: "no such job"}
