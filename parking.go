package broadcast

import (
	"errors"

	"github.com/fbd86cad/broadcast/internal/parking"
)

// wakeReaders wakes the readers that wait for a message.
func (c *chat[T]) wakeReaders() {
	c.shared.distributor.Wake(&c.parked)
	if followers := c.presence.Lot(); followers != nil {
		c.shared.distributor.Wake(followers)
	}
}

// lot returns the lot in which the reader waits.
func (s *Subscriber[T]) lot() *parking.Lot {
	if s.follower != nil {
		return s.follower.Lot()
	}
	return &s.chat.parked
}

// spot returns the reader's spot in the lot. It is allocated at the first wait and released at the
// end.
func (s *Subscriber[T]) spot() *parking.Spot {
	if spot := s.at.Spot.Load(); spot != nil {
		return spot
	}
	spot := s.lot().NewSpot()
	if !s.at.Spot.CompareAndSwap(nil, spot) { // a second goroutine reads by mistake
		spot.Release()
		return s.at.Spot.Load()
	}
	if s.end.Load() != nil { // the end may have come before there was a spot to release
		spot.Release()
	}
	return spot
}

// releaseSpot gives the spot back. The end must have been stored: nobody relies on being woken by a
// message any more.
func (s *Subscriber[T]) releaseSpot() {
	if spot := s.at.Spot.Load(); spot != nil {
		spot.Release()
	}
}

// wake wakes the reader, whether it is parked or not.
func (s *Subscriber[T]) wake() {
	if spot := s.at.Spot.Load(); spot != nil { // else it has never waited
		spot.Wake()
	}
}

// withdrawLocked wakes the goroutine behind Chan, because the message that it offers may be dropped
// from now on.
func (c *chat[T]) withdrawLocked(s *Subscriber[T]) {
	if s.pump.Load() != nil {
		s.wake()
	}
}

// errBusy means that the reader must wait for another goroutine: the one that applies its strategy
// or, after the end, the one behind Chan.
var errBusy = errors.New("busy")

// park parks the reader. It returns a channel that gets a token, or is closed, when there may be
// something to take or the subscription has ended. It returns nil if there is no need to wait.
func (s *Subscriber[T]) park() <-chan struct{} {
	if left := s.unsettledAtEnd(); left != nil {
		return left
	}
	return s.parkForMessage()
}

// unsettledAtEnd is unsettled for a reader: it returns nil while the subscription is open, and when
// nothing can be taken any more.
func (s *Subscriber[T]) unsettledAtEnd() <-chan struct{} {
	if s.end.Load() == nil || s.gone() {
		return nil
	}
	return s.unsettled()
}

// unsettled returns a channel that is closed when the goroutine behind Chan has settled all that it
// sent. It returns nil if that is so already, or Chan was never called.
func (s *Subscriber[T]) unsettled() <-chan struct{} {
	p := s.pump.Load()
	if p == nil {
		return nil
	}
	select {
	case <-p.settled:
		return nil
	default:
		return p.settled
	}
}

// parkForMessage is park without regard to the goroutine behind Chan.
func (s *Subscriber[T]) parkForMessage() <-chan struct{} {
	spot := s.spot()
	spot.Park()
	waits := s.end.Load() != nil || s.chat.log.Head() != s.at.Position() || s.follower.Behind()
	if s.gone() || waits && !s.busy.Load() {
		return nil
	}
	return spot.Woken()
}

// wakeNextReader wakes another goroutine that reads the same subscription by mistake: the end
// leaves a single token for all of them.
func (s *Subscriber[T]) wakeNextReader() {
	if s.end.Load() != nil && !s.busy.Load() {
		s.wake()
	}
}

// awaitEither waits until a or b is ready.
func awaitEither(a, b <-chan struct{}) {
	select {
	case <-a:
	case <-b:
	}
}
