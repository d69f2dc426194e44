// Messenger is a production reference of a service on the library: people post messages to chats
// over HTTP, and watch chats over WebSockets. Its README maps it to the library.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/fbd86cad/broadcast/examples/internal/program"
	"github.com/fbd86cad/broadcast/examples/messenger/server"
)

func main() {
	ctx := program.UntilSignal()
	cfg := server.DefaultConfig()
	cfg.Parse("messenger", os.Args[1:], &cfg)
	s, err := server.New(cfg)
	if err != nil {
		cfg.Fail(err)
	}
	ln, url, err := cfg.Listen()
	if err != nil {
		log.Fatal("messenger: ", err)
	}
	fmt.Println("listening on", url)
	if cfg.Secret == "" {
		fmt.Println("anybody on this machine may come in under any name: open it in two tabs")
	}
	if err := s.Serve(ctx, ln); err != nil {
		log.Fatal("messenger: ", err)
	}
}
