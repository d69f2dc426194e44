package broadcastws_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// A service mounts an endpoint, says who may watch what, and ends in order.
func Example() {
	broker, err := broadcast.New[string]()
	if err != nil {
		log.Fatal(err)
	}
	sockets, err := broadcastws.New(broker, broadcastws.Options[string]{
		Admit: func(r *http.Request) (broadcastws.Ticket, error) {
			user, password, ok := r.BasicAuth() // or a cookie: whatever your login is
			if !ok || password != "secret" {
				return broadcastws.Ticket{}, &broadcastws.Refusal{Status: http.StatusUnauthorized}
			}
			return broadcastws.Ticket{Chat: r.PathValue("chat"), Device: user}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/chats/{chat}", sockets)
	service := httptest.NewServer(mux)

	ctx := context.Background()
	client, _, err := websocket.Dial(ctx, service.URL+"/chats/general", nil)
	fmt.Println("without a password:", client != nil, err != nil)
	client, _, err = websocket.Dial(ctx, service.URL+"/chats/general", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Basic YW5uOnNlY3JldA=="}},
	})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_, frame, err := client.Read(ctx)
			if err != nil {
				fmt.Println(websocket.CloseStatus(err))
				return
			}
			fmt.Println(len(frame) > 0)
		}
	}()
	if err := broker.Publish(ctx, "general", "hello"); err != nil {
		log.Fatal(err)
	}

	// The end: everything accepted is delivered, then the sockets close, then the rest.
	if err := broker.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	if err := sockets.Drain(ctx); err != nil {
		log.Fatal(err)
	}
	service.Close() // in a service: http.Server.Shutdown
	<-ended
	// Output:
	// without a password: false true
	// true
	// true
	// true
	// StatusGoingAway
}

// A handler that publishes what clients post answers the errors of Publish.
func ExampleRefusalOf() {
	broker, err := broadcast.New[string]()
	if err != nil {
		log.Fatal(err)
	}
	post := func(w http.ResponseWriter, r *http.Request) {
		err := broker.Publish(r.Context(), r.PathValue("chat"), "hello")
		if err == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		refusal := broadcastws.RefusalOf(err)
		if refusal.Status == http.StatusInternalServerError {
			log.Print("post failed: ", err)
		}
		refusal.ServeHTTP(w, r)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /chats/{chat}", post)
	service := httptest.NewServer(mux)
	defer service.Close()

	ask := func() {
		res, err := http.Post(service.URL+"/chats/general", "", nil)
		if err != nil {
			log.Fatal(err)
		}
		_ = res.Body.Close()
		fmt.Printf("%s, Retry-After: %q\n", res.Status, res.Header.Get("Retry-After"))
	}
	ask()
	if err := broker.Close(); err != nil {
		log.Fatal(err)
	}
	ask()
	// Output:
	// 202 Accepted, Retry-After: ""
	// 503 Service Unavailable, Retry-After: "5"
}
