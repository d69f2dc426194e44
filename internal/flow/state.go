// Package flow implements flow control for the readers of a log: how far each may be behind, when
// publishers must wait for it, and when the strategy of a reader without room must act. It knows
// positions, limits, and patience, but neither messages nor strategies nor the ends of
// subscriptions.
package flow

import "strconv"

// State is the state of a reader in flow control. It is guarded by the lock of the [Gate].
//
//	event (who)                                        change
//	look: no room (publisher)                          Following → Full; Strained → Spent or Blocking
//	forgive: one place (publisher that looks first)    Full → Following
//	decide: half empty (publisher)                     Full → Following
//	decide: patience over, one place (publisher)       Full → Strained
//	decide: patience over, no place (publisher)        Full → Spent, or Blocking if it blocks
//	act: nobody left to wait for (publisher)           Spent → Off, Frozen or Gone, by strategy
//	read: half empty (reader)                          Full, Strained, Spent, Blocking, Off → Following
//	read: one place (reader)                           Spent, Blocking → Strained
//	read: joined without patience (reader)             Strained, Spent, Blocking, Off → Following
//	thaw (reader)                                      Frozen → Strained
//	end (any goroutine)                                all → Gone
//
// The limit of the head is never above what the readers in Following and Strained were last seen to
// have room for. Publishers wait for readers in Full until patience is over, and for readers in
// Blocking until they have room. Readers in Spent are out of patience: their strategy acts before
// the next message is accepted. Publishers do not look at readers in Off and Frozen.
type State uint8

// The states.
const (
	Gone      State = iota // has ended, or not joined yet
	Following              // has room
	Strained               // has room, but is out of patience until it is half empty
	Full                   // had no room when a publisher looked; publishers are patient with it
	Spent                  // has no room, and is out of patience
	Blocking               // like Spent, with a strategy that makes publishers wait
	Off                    // its strategy acted: the log keeps what it may still take
	Frozen                 // its strategy acted: it keeps what it may still take itself
	states    = iota
)

var names = [states]string{
	"Gone", "Following", "Strained", "Full", "Spent", "Blocking", "Off", "Frozen",
}

// String returns the name of the state.
func (s State) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}

// Patient reports whether publishers are patient with the reader.
func (s State) Patient() bool { return s == Following || s == Full }
