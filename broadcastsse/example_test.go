package broadcastsse_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// A service mounts an endpoint, says who may watch what, and ends in order. A page reads it with
//
//	const events = new EventSource("/chats/general");
//	events.onmessage = e => show(JSON.parse(e.data).message);
func Example() {
	broker, err := broadcast.New[string]()
	if err != nil {
		log.Fatal(err)
	}
	streams, err := broadcastsse.New(broker, broadcastsse.Options[string]{
		Admit: func(r *http.Request) (broadcastsse.Ticket, error) {
			user, password, ok := r.BasicAuth() // or a cookie: whatever your login is
			if !ok || password != "secret" {
				return broadcastsse.Ticket{}, &broadcastsse.Refusal{Status: http.StatusUnauthorized}
			}
			return broadcastsse.Ticket{Chat: r.PathValue("chat"), Device: user}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/chats/{chat}", streams)
	service := httptest.NewServer(mux)

	res, err := http.Get(service.URL + "/chats/general")
	if err != nil {
		log.Fatal(err)
	}
	_ = res.Body.Close()
	fmt.Println("without a password:", res.Status)

	req, err := http.NewRequest(http.MethodGet, service.URL+"/chats/general", nil)
	if err != nil {
		log.Fatal(err)
	}
	req.SetBasicAuth("ann", "secret")
	if res, err = http.DefaultClient.Do(req); err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	ctx := context.Background()
	if err := broker.Publish(ctx, "general", "hello"); err != nil {
		log.Fatal(err)
	}

	// The end: everything accepted is delivered, then the streams end, then the rest.
	if err := broker.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	if err := streams.Drain(ctx); err != nil {
		log.Fatal(err)
	}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			fmt.Println(name)
		}
		if strings.Contains(lines.Text(), "hello") {
			fmt.Println("hello")
		}
	}
	service.Close() // in a service: http.Server.Shutdown
	// Output:
	// without a password: 401 Unauthorized
	// ready
	// hello
	// ended
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
		refusal := broadcastsse.RefusalOf(err)
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
