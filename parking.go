package broadcast

import (
	"errors"
	"runtime"

	"github.com/fbd86cad/broadcast/internal/parking"
)

// wake wakes the readers that wait for a message.
func (c *chat[T]) wake() {
	c.broker.distributor.wake(&c.parked)
	c.wakeFollowers()
}

// lot returns where the reader waits.
func (s *Subscriber[T]) lot() *parking.Lot {
	if s.follower != nil {
		return &s.follower.presence.parked.Lot
	}
	return &s.chat.parked.Lot
}

// spot returns where in the lot: got when it waits for the first time, and kept until the end.
func (s *Subscriber[T]) spot() *parking.Spot {
	if spot := s.parking.Load(); spot != nil {
		return spot
	}
	spot := s.lot().NewSpot()
	if !s.parking.CompareAndSwap(nil, spot) { // two goroutines read, by mistake
		spot.Release()
		return s.parking.Load()
	}
	if s.end.Load() != nil { // whoever ended it may have come too early to release the spot
		spot.Release()
	}
	return spot
}

// releaseSpot gives the spot back. The end is stored: nobody relies on being woken by a message any more.
func (s *Subscriber[T]) releaseSpot() {
	if spot := s.parking.Load(); spot != nil {
		spot.Release()
	}
}

// call wakes the reader, parked or not.
func (s *Subscriber[T]) call() {
	if spot := s.parking.Load(); spot != nil { // nil: it has never waited
		spot.Wake()
	}
}

// asleepLocked returns the full readers that are still parked, because whoever has accepted the message that they are to take has not come to
// wake them yet. A publisher that waits for them must not rely on that.
func (c *chat[T]) asleepLocked() (asleep []*parking.Spot) {
	for _, s := range c.watch.full {
		if spot := s.parking.Load(); spot != nil && spot.Parked() {
			asleep = append(asleep, spot)
		}
	}
	return asleep
}

// errBusy says that somebody else has to finish first: who applies the strategy, or after the end the goroutine behind Chan.
var errBusy = errors.New("busy")

// park parks the reader and returns a channel that gets a token, or is closed, when there may be something to take or the subscription has
// ended. It returns nil if there is no need to wait.
func (s *Subscriber[T]) park() <-chan struct{} {
	if left := s.pumpLeaves(); left != nil {
		return left
	}
	return s.parkForMessage()
}

// pumpLeaves returns what to wait for first when the goroutine behind Chan has yet to settle what it sent, else nil.
func (s *Subscriber[T]) pumpLeaves() <-chan struct{} {
	if p := s.pump.Load(); p != nil && !p.hasLeft() && s.end.Load() != nil && !s.gone() {
		return p.left
	}
	return nil
}

// parkForMessage is park for those who need not wait for the goroutine behind Chan.
func (s *Subscriber[T]) parkForMessage() <-chan struct{} {
	spot := s.spot()
	spot.Park()
	waits := s.end.Load() != nil || s.chat.log.Head() != s.position() || s.follower.behind()
	if s.gone() || waits && !s.busy.Load() {
		return nil
	}
	return spot.Woken()
}

// passOn wakes another goroutine that reads the same subscription by mistake: the token of the end is for all, and that of the end of a context
// for the loop that has it, which is about to receive it.
func (s *Subscriber[T]) passOn() {
	switch {
	case s.end.Load() != nil && !s.busy.Load():
		s.call()
	case s.summoned.Load() > 0:
		s.call()
		runtime.Gosched()
	}
}

// giveUpPlace makes sure that a reader which stops reading holds no more of the log than it may: it may have stored its place after
// somebody had taken it away.
func (s *Subscriber[T]) giveUpPlace() {
	if s.word.Load()&slow != 0 && s.enter() {
		s.exit()
	}
}

// signal leaves a token for whoever waits on ch, unless there is one already.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
