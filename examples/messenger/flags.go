package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fbd86cad/broadcast"
)

// samplings are the strategies by the name that the -sampling flag gives them.
var samplings = map[string]broadcast.Sampling{
	"drop-oldest": broadcast.DropOldest,
	"drop-newest": broadcast.DropNewest,
	"drop-random": broadcast.DropRandom,
	"disconnect":  broadcast.Disconnect,
	"block":       broadcast.Block,
}

// parseFlags returns the address to listen on and the configuration. What is wrong with args is also written to stderr. The
// ranges of the values are the library's to check: see [NewServer].
func parseFlags(args []string, stderr io.Writer) (addr string, cfg Config, err error) {
	cfg = DefaultConfig()
	names := strings.Join(slices.Sorted(maps.Keys(samplings)), ", ")

	flags := flag.NewFlagSet("messenger", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&addr, "addr", "127.0.0.1:8080", "`address` to listen on; port 0 picks a free one")
	flags.IntVar(&cfg.Buffer, "buffer", cfg.Buffer, "`messages` that a socket may be behind")
	flags.DurationVar(&cfg.Patience, "patience", cfg.Patience, "how long a post waits for a socket that is that far behind")
	flags.DurationVar(&cfg.PublishTimeout, "publish-timeout", cfg.PublishTimeout, "longest wait of one post; 0 for no limit")
	flags.IntVar(&cfg.History, "history", cfg.History, "`messages` kept of each chat for those who come back or anew; 0 for none")
	flags.Func("sampling", "`strategy` for a message that does not fit: "+names+" (default drop-oldest)", func(name string) error {
		sampling, ok := samplings[name]
		if !ok {
			return fmt.Errorf("not one of %s", names)
		}
		cfg.Sampling = sampling
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return "", Config{}, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(stderr, "messenger:", err)
		flags.Usage()
		return "", Config{}, err
	}
	return addr, cfg, nil
}
