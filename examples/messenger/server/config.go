package server

import (
	"errors"
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast"
)

// Config has the settings of a Server. Begin with [DefaultConfig].
type Config struct {
	Secret []byte   // signs the tokens of people; nil: anybody may log in under any name
	Hosts  []string // the names of the server; nil: any, or without a Secret those of this machine
	Proxy  bool     // a proxy is in front, and says for whom it asks in X-Forwarded-For and -Proto

	Operators []string // who may see /debug/broadcast; nil: there is no such page

	PostRate, HandshakeRate float64 // a second: posts of a person; logins and sockets of an address
	Burst, Connections      int     // of either at once; of an address

	Buffer       int           // messages that a socket may be behind before it is cut off, to resume
	History      int           // messages kept of each chat
	HistoryAge   time.Duration // how old they may be; above 0, or no chat would ever be forgotten
	HistoryBytes int           // of the texts kept of all chats together
	MaxChats     int           // beyond it, those are forgotten that nobody watches
	LeaveGrace   time.Duration // who comes back within it has not left; longer than a page takes

	BodyTimeout  time.Duration // for the header and the body of a request
	WriteTimeout time.Duration // for one batch of a socket
	Ping         time.Duration // between two heartbeats of a socket
	DrainTimeout time.Duration // for the whole end; longer than BodyTimeout

	Broker []broadcast.Option // further options of the broker; they win
	Log    *slog.Logger       // never nil
}

// DefaultConfig returns the defaults of the command's flags.
func DefaultConfig() Config {
	return Config{
		PostRate: 5, HandshakeRate: 5, Burst: 50, Connections: 100,
		Buffer: 256, History: 250, HistoryAge: time.Hour, HistoryBytes: 64 << 20,
		MaxChats: 1000, LeaveGrace: 5 * time.Second,
		BodyTimeout: 10 * time.Second, WriteTimeout: 5 * time.Second,
		Ping: 25 * time.Second, DrainTimeout: 15 * time.Second,
		Log: slog.New(slog.DiscardHandler),
	}
}

// check returns what is wrong with the settings that the library does not check.
func (c *Config) check() error {
	switch {
	case c.Secret != nil && len(c.Secret) < 32:
		return errors.New("the secret has fewer than 32 bytes")
	case c.Secret == nil && c.Proxy:
		return errors.New("behind a proxy anybody could come in: set a secret")
	case min(c.PostRate, c.HandshakeRate, float64(c.Burst), float64(c.Connections)) <= 0:
		return errors.New("the rates, the burst and the connections must be above 0")
	case c.HistoryBytes < maxBody:
		return errors.New("the history of all chats must have 65536 bytes or more")
	}
	return nil
}
