// Cluster runs the messenger on several nodes, which share its chats through NATS JetStream. Its
// README says how to kill one of them.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/fbd86cad/broadcast/examples/internal/token"
	"github.com/fbd86cad/broadcast/examples/messenger/server"
)

// Settings are those of the messenger, and what a node needs besides.
type settings struct {
	server.Config

	Engine   string    `arg:"--engine,env:ENGINE" placeholder:"URL" help:"run one node, on these NATS servers with JetStream, separated by commas; without it, run three nodes and a NATS server on this machine"`
	Replicas int       `arg:"--replicas,env:REPLICAS" placeholder:"N" help:"NATS servers that keep the chats" default:"1"`
	Origins  []string  `arg:"--nodes,env:NODES" placeholder:"URL" help:"of all nodes, this one included, between which pages move; not needed behind a load balancer"`
	LoginKey token.Key `arg:"--key,env:KEY" placeholder:"BYTES" help:"32 or more, the same on all nodes, for logins without a secret"`
	UntilEOF bool      `arg:"--until-eof,env:UNTIL_EOF" help:"end when the standard input does"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	s := settings{Config: server.DefaultConfig()}
	s.Parse("cluster", os.Args[1:], &s)
	run := s.runNode
	if s.Engine == "" {
		run = s.runCluster
	}
	if err := run(ctx); err != nil {
		log.Fatal("cluster: ", err)
	}
}
