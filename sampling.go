package broadcast

import "fmt"

// Sampling says what happens to a message that does not fit the full buffer of a reader, after publishers have waited for that
// reader once (see [WithPatience]).
type Sampling int

const (
	// DropOldest drops the oldest message that waits: the newest stay. The default, and the cheapest.
	DropOldest Sampling = iota
	// DropNewest drops the new message: the oldest stay.
	DropNewest
	// DropRandom drops one of those that wait or the new one, each equally likely. Order is kept.
	DropRandom
	// Disconnect ends the subscription with [ErrSlow]. What was buffered stays readable.
	Disconnect
	// Block drops nothing: publishers of the chat wait for room, up to [WithPublishTimeout] and their context.
	Block
)

// String returns the strategy's name.
func (s Sampling) String() string {
	switch s {
	case DropOldest:
		return "DropOldest"
	case DropNewest:
		return "DropNewest"
	case DropRandom:
		return "DropRandom"
	case Disconnect:
		return "Disconnect"
	case Block:
		return "Block"
	}
	return fmt.Sprintf("Sampling(%d)", int(s))
}
