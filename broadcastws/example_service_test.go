package broadcastws_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// note is what users send and receive.
type note struct {
	From string `json:"from"`
	Text string `json:"text"`
}

type chatService struct {
	broker  *broadcast.Broker[note]
	sockets *broadcastws.Server[note]
	streams *broadcastsse.Server[note]
}

func newChatService() (*chatService, error) {
	broker, err := broadcast.New[note](
		broadcast.WithHistory(100, time.Hour),        // for clients that join late or come back
		broadcast.WithSampling(broadcast.Disconnect), // a slow client reconnects and resumes
		broadcast.WithMaxChats(10_000),
		broadcast.WithMaxSubscribers(10_000), // in one chat
	)
	if err != nil {
		return nil, err
	}
	s := &chatService{broker: broker}
	s.sockets, err = broadcastws.New(broker, broadcastws.Options[note]{Admit: s.admit, Replay: 100})
	if err != nil {
		return nil, err
	}
	s.streams, err = broadcastsse.New(broker, broadcastsse.Options[note]{Admit: s.admit, Replay: 100})
	return s, err
}

// login returns who sends a request. Put your session cookie or token here.
func login(r *http.Request) (user string, err error) {
	user, password, ok := r.BasicAuth()
	if !ok || password != "secret" {
		return "", &broadcastws.Refusal{Status: http.StatusUnauthorized, Text: "log in first"}
	}
	return user, nil
}

// admit decides who may watch what, over either kind of connection.
func (s *chatService) admit(r *http.Request) (broadcastws.Ticket, error) {
	user, err := login(r)
	return broadcastws.Ticket{
		Chat: r.PathValue("chat"),
		// A new connection of a tab takes over from its old one, which may be dead.
		Device: user + "/" + r.URL.Query().Get("tab"),
	}, err
}

// post publishes the text in the body of a request.
func (s *chatService) post(w http.ResponseWriter, r *http.Request) {
	user, err := login(r)
	if err != nil {
		broadcastws.RefusalOf(err).ServeHTTP(w, r)
		return
	}
	var body struct{ Text string }
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(&body)
	if err != nil || body.Text == "" {
		http.Error(w, `want {"text":"hello"}`, http.StatusBadRequest)
		return
	}
	err = s.broker.Publish(r.Context(), r.PathValue("chat"), note{user, body.Text})
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	refusal := broadcastws.RefusalOf(err) // the status and the text for each error
	if refusal.Status == http.StatusInternalServerError {
		log.Printf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	refusal.ServeHTTP(w, r)
}

// serve serves until ctx is done, and then shuts down in order.
func (s *chatService) serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /chats/{chat}", s.post)
	mux.Handle("GET /chats/{chat}/socket", s.sockets)
	mux.Handle("GET /chats/{chat}/events", s.streams)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			w.WriteHeader(http.StatusServiceUnavailable) // no new clients, please
		}
	})
	server := &http.Server{
		Handler:           http.NewCrossOriginProtection().Handler(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return errors.Join(err,
		s.broker.Shutdown(ending), // refuses messages; connections deliver accepted ones, then end
		s.sockets.Drain(ending),   // waits for the WebSockets
		s.streams.Drain(ending),   // waits for the event streams
		server.Shutdown(ending),   // answers the requests that have begun, and closes the listener
	)
}

// A whole service: a login, posts with a status for each error, WebSockets and event streams, and
// an orderly shutdown. docs/service.md explains it.
func Example_service() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := newChatService()
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- s.serve(ctx, ln) }()

	post := func(password, chat, body string) {
		url := fmt.Sprintf("http://ann:%s@%s/chats/%s", password, ln.Addr(), chat)
		res, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		_ = res.Body.Close()
		fmt.Println(res.Status)
	}
	post("wrong", "general", `{"text":"hello"}`)
	post("secret", "general", `hello`)
	post("secret", strings.Repeat("x", 257), `{"text":"hello"}`)
	post("secret", "general", `{"text":"hello"}`)
	if err := s.broker.EndChat(ctx, "other", nil); err != nil {
		log.Fatal(err)
	}
	post("secret", "other", `{"text":"hello"}`)

	res, err := http.Get(fmt.Sprintf("http://ann:secret@%s/chats/general/events?tab=1", ln.Addr()))
	if err != nil {
		log.Fatal(err)
	}
	stop() // ends ctx, as SIGTERM does
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		switch name, data, _ := strings.Cut(lines.Text(), ": "); {
		case name == "event":
			fmt.Println(data)
		case strings.Contains(data, `"message"`):
			fmt.Println("hello")
		}
	}
	_ = res.Body.Close()
	fmt.Println(<-ended)
	// Output:
	// 401 Unauthorized
	// 400 Bad Request
	// 400 Bad Request
	// 202 Accepted
	// 410 Gone
	// ready
	// hello
	// ended
	// <nil>
}
