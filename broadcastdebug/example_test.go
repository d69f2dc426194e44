package broadcastdebug_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastdebug"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

func ExampleHandler() {
	broker, err := broadcast.New[string]()
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	streams, err := broadcastsse.New(broker, broadcastsse.Options[string]{
		Admit: func(r *http.Request) (broadcastsse.Ticket, error) {
			return broadcastsse.Ticket{Chat: r.PathValue("chat")}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/chats/{chat}", streams)
	mux.Handle("/debug/broadcast", broadcastdebug.Handler(broker, streams)) // behind your login

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/debug/broadcast", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 text/html; charset=utf-8
}
