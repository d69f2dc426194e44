package server

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/program"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// Flags are the settings of which the command has flags.
type Flags struct {
	program.Settings // without a Secret everybody is trusted

	Dir          string        `arg:"--dir,env:DIR" help:"directory for uploads; made if there is none"`
	MaxUpload    int64         `arg:"--max-upload,env:MAX_UPLOAD" placeholder:"BYTES" help:"of one upload"`
	MaxPerPerson int64         `arg:"--max-per-person,env:MAX_PER_PERSON" placeholder:"BYTES" help:"of all of a person"`
	MaxStored    int64         `arg:"--max-stored,env:MAX_STORED" placeholder:"BYTES" help:"of all uploads together"`
	FileAge      time.Duration `arg:"--file-age,env:FILE_AGE" placeholder:"TIME" help:"how long an upload is kept"`
	HistoryBytes int           `arg:"--history-bytes,env:HISTORY_BYTES" placeholder:"BYTES" help:"of the messages of all rooms"`
	HistoryAge   time.Duration `arg:"--history,env:HISTORY" placeholder:"TIME" help:"how long messages are kept"`
}

// Config has all settings of a server. Begin with [DefaultConfig]. A file past its age is removed
// at the next transfer, or when the next server starts. An empty room is forgotten with the last of
// its messages. Each room has the same share of HistoryBytes.
type Config struct {
	Flags

	// Rooms.
	Buffer      int           // messages that somebody may be behind before they are cut off
	Replay      int           // messages that somebody gets who comes for the first time
	RoomIdle    time.Duration // how long an empty room without history is remembered
	LeaveGrace  time.Duration // somebody who comes back within it has not left
	MaxRooms    int           // in all
	MaxMembers  int           // of one room
	CleanPeriod time.Duration // how much later than said a room is forgotten, at most

	// Files.
	MaxFiles      int           // files in all
	MaxTransfers  int           // uploads and downloads at the same time
	MaxPerAddress int           // of these, from one address
	BodyIdle      time.Duration // a transfer that makes no progress for so long is aborted
	MinRate       int64         // bytes a second; an upload is aborted if it takes longer than that and BodyIdle

	// The transport.
	HeaderTimeout time.Duration // for the header of a request
	WriteTimeout  time.Duration // for a batch of messages
	PingInterval  time.Duration // between the pings that find clients that have stopped or lost their network
	CloseTimeout  time.Duration // for the client's part of the closing handshake
	SendBuffer    int           // bytes of a connection that the kernel holds; messages in there count as delivered
	UploadGrace   time.Duration // how long a shutdown waits for transfers in progress
	DrainTimeout  time.Duration // for all of stopping, when the context that was given to Start has ended

	identity func(r *http.Request, room, name string) (string, error) // nil: by tokens; tests ask for others
	create   func(name string) (partial, error)                       // nil: in Dir; tests have disks that fail
}

// DefaultConfig returns the defaults of the flags.
func DefaultConfig() Config {
	return Config{
		Flags: Flags{
			Settings: program.Settings{Log: slog.New(slog.DiscardHandler)},
			Dir:      "uploads", MaxUpload: 4 << 30, MaxPerPerson: 8 << 30, MaxStored: 16 << 30,
			FileAge: 24 * time.Hour, HistoryBytes: 256 << 20, HistoryAge: 30 * time.Minute,
		},
		Buffer:        256,
		Replay:        100,
		RoomIdle:      10 * time.Second,
		LeaveGrace:    5 * time.Second,
		MaxRooms:      100,
		MaxMembers:    1000,
		CleanPeriod:   time.Second,
		MaxFiles:      10_000,
		MaxTransfers:  64,
		MaxPerAddress: 8,
		BodyIdle:      30 * time.Second,
		MinRate:       64 << 10,
		HeaderTimeout: 5 * time.Second,
		WriteTimeout:  5 * time.Second,
		PingInterval:  10 * time.Second,
		CloseTimeout:  2 * time.Second,
		SendBuffer:    16 << 10,
		UploadGrace:   3 * time.Second,
		DrainTimeout:  10 * time.Second,
	}
}

// brokerOptions returns the settings that are options of the library.
func (c Config) brokerOptions() []broadcast.Option {
	history := c.HistoryBytes / max(1, c.MaxRooms) / wire.MaxText // messages of a room
	return []broadcast.Option{
		broadcast.WithBuffer(c.Buffer),
		broadcast.WithSampling(broadcast.Disconnect),
		broadcast.WithHistory(history, c.HistoryAge),
		broadcast.WithChatIdle(c.RoomIdle),
		broadcast.WithLeaveGrace(c.LeaveGrace),
		broadcast.WithCleanInterval(c.CleanPeriod),
		broadcast.WithMaxChats(c.MaxRooms),
		broadcast.WithMaxSubscribers(c.MaxMembers),
		broadcast.WithLogger(c.Log),
	}
}
