package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const nodes = 3

// within is how long a NATS server or a node may take to start.
const within = 30 * time.Second

// runCluster runs a NATS server in this process, and nodes in others, until ctx ends or somebody
// presses q. The digits kill nodes, and start them again.
func (s *settings) runCluster(ctx context.Context) error {
	nats, err := startNATS()
	if err != nil {
		return err
	}
	defer nats.stop()
	addrs, err := s.addresses()
	if err != nil {
		return err
	}
	scheme := "http://"
	if s.TLSCert != "" {
		scheme = "https://"
	}
	args := append(os.Args[1:len(os.Args):len(os.Args)], "-engine", nats.ClientURL(), "-until-eof", "-nodes")
	for _, addr := range addrs {
		args = append(args, scheme+addr)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	terminal := openTerminal()
	defer terminal.close()
	c := &cluster{
		out: terminal, program: program, args: args, key: cmp.Or(string(s.LoginKey), rand.Text()+rand.Text()),
		ended: make(chan string),
	}
	defer c.stop()
	for i, addr := range addrs {
		c.nodes = append(c.nodes, node{addr: addr})
		if err := c.start(i); err != nil {
			return err
		}
	}
	for i, addr := range addrs {
		c.say("node %d: %s%s", i+1, scheme, addr)
	}
	c.say("1, 2 and 3 kill a node, or start it again; q quits")
	return c.run(ctx, terminal.keys)
}

// addresses returns where the nodes listen: at the address of the settings, and at the ports above
// it. Each gets any port that is free if that is 0.
func (s *settings) addresses() (all []string, err error) {
	host, text, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		port := first
		if port != 0 {
			port += i
		}
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return nil, err
		}
		defer ln.Close() // a node listens there
		all = append(all, ln.Addr().String())
	}
	return all, nil
}

// A natsServer runs in this process.
type natsServer struct {
	*server.Server
	dir string
}

func startNATS() (n natsServer, err error) {
	if n.dir, err = os.MkdirTemp("", "cluster-*"); err != nil {
		return n, err
	}
	n.Server, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: n.dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return n, errors.Join(err, os.RemoveAll(n.dir))
	}
	n.Start()
	if !n.ReadyForConnections(within) {
		n.stop()
		return n, errors.New("the NATS server does not start")
	}
	return n, nil
}

func (n natsServer) stop() {
	n.Shutdown()
	n.WaitForShutdown()
	_ = os.RemoveAll(n.dir)
}

// A cluster is the nodes that run in other processes. One goroutine uses it.
type cluster struct {
	out     io.Writer
	program string
	args    []string // of each node, but for its address
	key     string   // for logins
	nodes   []node
	ended   chan string // which node has ended, and how
}

// A node is one of the processes.
type node struct {
	addr string
	*process
}

func (c *cluster) say(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// start starts a node, and returns when it listens.
func (c *cluster) start(i int) error {
	name := fmt.Sprint("node ", i+1)
	cmd := exec.Command(c.program, append(slices.Clone(c.args), "-addr", c.nodes[i].addr)...)
	cmd.Env = append(os.Environ(), "CLUSTER_KEY="+c.key)
	p, err := startProcess(cmd, name, c.out)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.nodes[i].process = p
	go func() {
		<-p.done
		c.ended <- fmt.Sprintf("%s has ended: %v", name, p.err)
	}()
	return nil
}

// run does what the keys say, until ctx ends or one of them quits.
func (c *cluster) run(ctx context.Context, keys <-chan byte) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-c.ended:
			c.say("%s", event)
		case key := <-keys:
			switch i := int(key) - '1'; {
			case key == 'q', key == ctrlC, key == ctrlD:
				return nil
			case i < 0 || i >= len(c.nodes):
			case c.nodes[i].runs():
				c.nodes[i].kill()
			default:
				if err := c.start(i); err != nil {
					return err
				}
				c.say("node %d listens again", i+1)
			}
		}
	}
}

// stop ends all nodes in order.
func (c *cluster) stop() {
	var ends sync.WaitGroup
	for _, n := range c.nodes {
		if n.process != nil {
			ends.Go(n.stop)
		}
	}
	ends.Wait()
}
