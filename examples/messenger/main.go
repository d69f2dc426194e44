// Messenger is a production reference of a service on the library: people post messages to chats
// over HTTP, and watch chats over WebSockets. Its README maps it to the library.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/fbd86cad/broadcast/examples/messenger/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	cfg := server.DefaultConfig()
	cfg.Parse("messenger", os.Args[1:], &cfg)
	s, err := server.New(cfg)
	if err != nil {
		cfg.Parser.Fail(err.Error())
	}
	ln, url, err := cfg.Listen()
	if err == nil {
		fmt.Println("listening on", url)
		if cfg.Secret == "" {
			fmt.Println("anybody on this machine may come in under any name: open it in two tabs")
		}
		err = s.Serve(ctx, ln)
	}
	if err != nil {
		log.Fatal("messenger: ", err)
	}
}
