package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/rs/cors"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/examples/messenger/server"
)

// leastRecords is how many records of a chat the engine keeps for a node that falls behind, even if
// newcomers get fewer.
const leastRecords = 1000

// runNode runs one node until ctx ends.
func (s *settings) runNode(ctx context.Context) error {
	nats, err := broadcastnats.New(broadcastnats.Options{
		URL: s.Engine, Replicas: s.Replicas, Records: max(s.History, leastRecords),
	})
	if err != nil {
		s.Parser.Fail(err.Error())
	}
	node, err := s.newNode(nats)
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

// newNode returns a messenger that shares its chats with all nodes of the engine, and lets the pages
// of the other nodes read its answers.
func (s *settings) newNode(e engine.Engine) (*server.Server, error) {
	s.Options = []broadcast.Option{broadcast.WithEngine(e)}
	s.Nodes, s.Key = s.Origins, s.LoginKey
	node, err := server.New(s.Config)
	if err != nil {
		return nil, err
	}
	node.Handler = cors.New(cors.Options{
		AllowOriginFunc:  func(origin string) bool { return slices.Contains(s.Origins, origin) },
		AllowedHeaders:   []string{"Authorization", "Content-Type", "Idempotency-Key"},
		AllowCredentials: true, // the cookie
	}).Handler(node.Handler)
	return node, nil
}
