package broadcastdebug_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastdebug"
)

func ExampleHandler() {
	broker, err := broadcast.New[string]()
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	mux := http.NewServeMux()
	mux.Handle("/debug/broadcast", broadcastdebug.Handler(broker)) // behind your login

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/debug/broadcast", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 text/html; charset=utf-8
}
