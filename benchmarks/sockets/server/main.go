// Command server is the process under test of package sockets: one server that fans a chat out to
// all who connect. It takes its commands from standard input; see package sockets.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/fbd86cad/broadcast/benchmarks/sockets"
)

// contestant makes a server: the handler of those who watch, and the function that publishes one
// message to all of them. Numbers are counted from 1.
type contestant func() (watch http.Handler, publish func(number int64) error, err error)

// contestants are all servers by name.
var contestants = map[string]contestant{
	"broadcastws":           broadcastWS,
	"broadcastws-paced":     broadcastWSPaced,
	"broadcastsse":          broadcastSSE,
	"broadcastsse-hijacked": broadcastSSEHijacked,
	"gorilla-hub":           gorillaHub,
	"gorilla-lines":         gorillaLines,
	"gorilla-prepared":      gorillaPrepared,
	"gorilla-batches":       gorillaBatches,
	"bare-writes":           bareWrites,
	"centrifuge":            centrifugeNode,
	"gws":                   gwsBroadcaster,
	"melody":                melodySessions,
	"messenger-2026-11":     messengerOfToday,
	"sse-2026-11":           sseOfToday,
	"sse-usual":             sseUsual,
	"go-sse":                goSSE,
}

func main() {
	log.SetFlags(0)
	sendBuffer := flag.Int("send-buffer", 0, "bytes of a connection in the kernel; 0: its default")
	secure := flag.Bool("tls", false, "also listen with TLS")
	flag.Parse()
	start, ok := contestants[flag.Arg(0)]
	if !ok || flag.NArg() != 1 {
		log.Fatalf("server: want one name, not %q", flag.Args())
	}
	if err := run(start, *sendBuffer, *secure); err != nil {
		log.Fatal("server: ", err)
	}
}

// run serves until the end of standard input.
func run(start contestant, sendBuffer int, secure bool) error {
	watch, publish, err := start()
	if err != nil {
		return err
	}
	if err := serve(watch, sendBuffer, nil); err != nil {
		return err
	}
	if secure {
		config, err := selfSigned()
		if err != nil {
			return err
		}
		if err := serve(watch, sendBuffer, config); err != nil {
			return err
		}
	}
	return obey(publish)
}

// serve serves on a free port for as long as the process lives, and says on which; over TLS, if
// there is a configuration.
func serve(watch http.Handler, sendBuffer int, config *tls.Config) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(sockets.Listening + ln.Addr().String())
	if sendBuffer > 0 {
		ln = limited{ln, sendBuffer}
	}
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	go func() { log.Fatal("server: ", http.Serve(ln, watch)) }()
	return nil
}

// obey does what standard input says, until its end.
func obey(publish func(number int64) error) error {
	var number int64
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		var command string
		var n int64
		if _, err := fmt.Sscan(input.Text(), &command, &n); command == "" {
			return err
		}
		switch command {
		case sockets.CommandPublish:
			for range n {
				number++
				if err := publish(number); err != nil {
					return err
				}
			}
			fmt.Println("published")
		case sockets.CommandUsage:
			if err := json.NewEncoder(os.Stdout).Encode(usage()); err != nil {
				return err
			}
		case sockets.CommandTidy:
			debug.FreeOSMemory() // the first collection empties the pools, the second what was in them
			debug.FreeOSMemory()
			fmt.Println("tidy")
		}
	}
	return nil
}

// message returns a message that is to be sent as it is. Nobody may change it.
func message(number int64) []byte {
	return sockets.AppendMessage(make([]byte, 0, sockets.MessageSize), number)
}
