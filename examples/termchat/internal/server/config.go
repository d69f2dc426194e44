package server

import (
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast"
)

// Config has all settings of a server. Begin with [DefaultConfig].
type Config struct {
	Addr string // to listen on; port 0 picks a free one
	Dir  string // where uploads are kept; made if there is none

	// Rooms.
	Buffer      int           // messages that somebody may be behind before they are cut off
	History     int           // messages of a room that are kept for those who come, and come back
	HistoryAge  time.Duration // how old they may get; an empty room is forgotten with the last of them
	Replay      int           // messages that somebody gets who comes for the first time
	RoomIdle    time.Duration // how long an empty room without history is remembered
	LeaveGrace  time.Duration // somebody who comes back within it has not left
	MaxRooms    int           // in all
	MaxMembers  int           // of one room
	CleanPeriod time.Duration // how much later than said a room is forgotten, at most

	// Uploads.
	MaxUpload  int64         // bytes of one file
	MaxStored  int64         // bytes of all files together
	MaxFiles   int           // files in all
	MaxUploads int           // uploads at the same time
	BodyIdle   time.Duration // an upload of which nothing comes for so long is given up

	// The transport.
	HeaderTimeout time.Duration // for the header of a request
	WriteTimeout  time.Duration // for one frame: streams know no other deadline
	PingInterval  time.Duration // between the pings that find clients that have stopped or lost their network
	PingTimeout   time.Duration // for the answer to one
	CloseTimeout  time.Duration // for the client's part of the closing handshake
	SendBuffer    int           // bytes of a connection that the kernel holds; messages in there count as delivered
	UploadGrace   time.Duration // how long stopping waits for uploads that are on their way
	DrainTimeout  time.Duration // for all of stopping, when the context that was given to Start has ended

	Log *slog.Logger // nil: nothing is logged

	identity identityFunc                       // nil: identity; tests ask for others
	create   func(name string) (partial, error) // nil: in Dir; tests have disks that fail
}

// DefaultConfig returns the defaults of the flags.
func DefaultConfig() Config {
	return Config{
		Addr:          "127.0.0.1:7777",
		Dir:           "uploads",
		Buffer:        256,
		History:       1000,
		HistoryAge:    30 * time.Minute,
		Replay:        100,
		RoomIdle:      10 * time.Second,
		LeaveGrace:    5 * time.Second,
		MaxRooms:      1000,
		MaxMembers:    1000,
		CleanPeriod:   time.Second,
		MaxUpload:     4 << 30,
		MaxStored:     16 << 30,
		MaxFiles:      10_000,
		MaxUploads:    16,
		BodyIdle:      30 * time.Second,
		HeaderTimeout: 5 * time.Second,
		WriteTimeout:  5 * time.Second,
		PingInterval:  10 * time.Second,
		PingTimeout:   10 * time.Second,
		CloseTimeout:  2 * time.Second,
		SendBuffer:    16 << 10,
		UploadGrace:   3 * time.Second,
		DrainTimeout:  10 * time.Second,
	}
}

// brokerOptions returns the settings that are options of the library.
func (c Config) brokerOptions() []broadcast.Option {
	return []broadcast.Option{
		broadcast.WithBuffer(c.Buffer),
		broadcast.WithSampling(broadcast.Disconnect),
		broadcast.WithHistory(c.History, c.HistoryAge),
		broadcast.WithChatIdle(c.RoomIdle),
		broadcast.WithLeaveGrace(c.LeaveGrace),
		broadcast.WithCleanInterval(c.CleanPeriod),
		broadcast.WithMaxChats(c.MaxRooms),
		broadcast.WithMaxSubscribers(c.MaxMembers),
		broadcast.WithLogger(c.Log),
	}
}
