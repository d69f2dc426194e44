package server

import (
	"errors"
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/program"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

// Config has the settings of a Server, most of which are flags. Begin with [DefaultConfig].
type Config struct {
	program.Settings

	Hosts     []string `arg:"--hosts,env:HOSTS" placeholder:"NAME" help:"of the server; default any, or without a secret those of this machine"`
	Proxy     bool     `arg:"--proxy,env:PROXY" help:"a proxy is in front, and sets X-Forwarded-For and X-Forwarded-Proto"`
	Operators []string `arg:"--operators,env:OPERATORS" placeholder:"NAME" help:"of users who may see /debug/broadcast"`

	PostRate      float64 `arg:"--post-rate,env:POST_RATE" placeholder:"N" help:"posts of a person a second"`
	HandshakeRate float64 `arg:"--handshake-rate,env:HANDSHAKE_RATE" placeholder:"N" help:"logins and sockets of an address a second"`
	Burst         int     `arg:"--burst,env:BURST" placeholder:"N" help:"how many of either at once"`
	Connections   int     `arg:"--connections,env:CONNECTIONS" placeholder:"N" help:"connections of an address"`

	Buffer       int `arg:"--buffer,env:BUFFER" placeholder:"N" help:"messages that a socket may be behind before it is cut off"`
	History      int `arg:"--history,env:HISTORY" placeholder:"N" help:"messages kept of each chat; 0 for none"`
	HistoryBytes int `arg:"--history-bytes,env:HISTORY_BYTES" placeholder:"BYTES" help:"bound on the messages kept of all chats; each counts as 8704, the longest"`
	MaxChats     int `arg:"--max-chats,env:MAX_CHATS" placeholder:"N" help:"chats in all; beyond it, those are forgotten that nobody watches"`

	HistoryAge   time.Duration `arg:"--history-age,env:HISTORY_AGE" placeholder:"TIME" help:"how long messages are kept"`
	LeaveGrace   time.Duration `arg:"--leave-grace,env:LEAVE_GRACE" placeholder:"TIME" help:"who comes back within it has not left"`
	BodyTimeout  time.Duration `arg:"--body-timeout,env:BODY_TIMEOUT" placeholder:"TIME" help:"for the header and the body of a request"`
	WriteTimeout time.Duration `arg:"--write-timeout,env:WRITE_TIMEOUT" placeholder:"TIME" help:"for one batch of a socket"`
	Ping         time.Duration `arg:"--ping,env:PING" placeholder:"TIME" help:"between two heartbeats of a socket"`
	DrainTimeout time.Duration `arg:"--drain-timeout,env:DRAIN_TIMEOUT" placeholder:"TIME" help:"for the end; longer than the body timeout"`

	// For servers that share their chats.
	Options []broadcast.Option `arg:"-"` // more of the broker, such as an engine
	Nodes   []string           `arg:"-"` // the origins of all, between which pages move
	Key     token.Key          `arg:"-"` // signs the tokens without a Secret; random if empty
}

// DefaultConfig returns the defaults of the flags.
func DefaultConfig() Config {
	return Config{
		Settings: program.Settings{Addr: "127.0.0.1:8080", Log: slog.New(slog.DiscardHandler)},
		PostRate: 5, HandshakeRate: 5, Burst: 50, Connections: 100,
		Buffer: 256, History: 250, HistoryBytes: 256 << 20, MaxChats: 1000,
		HistoryAge: time.Hour, LeaveGrace: 5 * time.Second, Ping: 25 * time.Second,
		BodyTimeout: 10 * time.Second, WriteTimeout: 5 * time.Second, DrainTimeout: 15 * time.Second,
	}
}

// check returns what is wrong with the settings that the library does not check.
func (c *Config) check() error {
	switch {
	case c.Secret != "" && len(c.Secret) < 32:
		return errors.New("the secret has fewer than 32 bytes")
	case c.Secret == "" && c.Proxy:
		return errors.New("behind a proxy anybody could come in: set a secret")
	case min(c.PostRate, c.HandshakeRate, float64(c.Burst), float64(c.Connections)) <= 0:
		return errors.New("the rates, the burst and the connections must be above 0")
	case min(c.HistoryAge, c.BodyTimeout) <= 0: // none: no chat would be forgotten, no request cut
		return errors.New("the age of the history and the body timeout must be above 0")
	case c.HistoryBytes < maxBody:
		return errors.New("the history of all chats must have 65536 bytes or more")
	}
	return nil
}
