// Cluster runs the messenger on several nodes, which share its chats through NATS JetStream. Its
// README says how to kill one of them.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastnats"
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

// leastRecords is how many records of a chat the engine keeps for a node that falls behind, even if
// newcomers get fewer.
const leastRecords = 1000

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

// runNode runs one node until ctx ends.
func (s *settings) runNode(ctx context.Context) error {
	engine, err := broadcastnats.New(broadcastnats.Options{
		URL: s.Engine, Replicas: s.Replicas, Records: max(s.History, leastRecords),
	})
	if err != nil {
		s.Parser.Fail(err.Error())
	}
	s.Options = []broadcast.Option{broadcast.WithEngine(engine)}
	s.Nodes, s.Key = s.Origins, s.LoginKey
	node, err := server.New(s.Config)
	if err != nil {
		s.Parser.Fail(err.Error())
	}
	ln, url, err := s.Listen()
	if err != nil {
		return err
	}
	fmt.Println("listening on", url)
	if s.UntilEOF {
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		go func() {
			defer end()
			_, _ = io.Copy(io.Discard, os.Stdin) // however it ends
		}()
	}
	return node.Serve(ctx, ln)
}
