package broadcast

import "github.com/fbd86cad/broadcast/internal/seglog"

// overrunLocked runs the strategies of the readers that have no room for the message to be accepted. Those that pick begin
// to sample.
func (c *chat[T]) overrunLocked() (o outcome[T]) {
	head := c.log.Head()
	for i := len(c.watch.full) - 1; i >= 0; i-- { // backwards, because readers leave
		s := c.watch.full[i]
		switch s.sampling {
		case DropOldest:
			c.offLocked(s)
		case Disconnect:
			c.endLocked(s, ErrSlow, true)
			c.past.disconnected++
			o.ended = append(o.ended, s)
		case DropNewest:
			s.overrun = true
			c.freezeLocked(s)
		default:
			s.overrun = true
			c.watch.remove(s)
			c.watch.add(s, head+s.buffer) // when its sampler must have caught up
			c.withdrawLocked(s)
			if s.sampling == ownSampler { // at once, so that the user sees its effects when they happen
				s.due = true
				o.overrun = append(o.overrun, s)
			}
		}
	}
	c.watch.limit = c.watch.earliest()
	return o
}

// offLocked takes a DropOldest reader off the list. From now on it costs publishers nothing, and holds nothing of the log
// by itself: at its next read it jumps to the oldest message that it may still have.
func (c *chat[T]) offLocked(s *Subscriber[T]) {
	c.watch.remove(s)
	s.place = placeOff
	c.holdLocked(s.buffer, s.segment.Swap(nil))
	c.withdrawLocked(s)
}

// withdrawLocked tells the goroutine behind Chan that what it offers may be dropped from now on.
func (c *chat[T]) withdrawLocked(s *Subscriber[T]) {
	if s.pump.Load() != nil {
		s.call()
	}
}

// pressLocked makes the next publisher apply the strategy of a reader that lies a buffer behind with it, because what it has to
// choose from must not grow without end. If it has been at it since the last time, it hangs, and nothing more is kept for it.
func (c *chat[T]) pressLocked(s *Subscriber[T], head uint64) {
	if s.due && s.busy.Load() {
		c.freezeLocked(s)
		return
	}
	s.due = true
	c.pressed = append(c.pressed, s)
	c.watch.refresh(s, head+s.buffer)
}

// freezeLocked takes a reader off the list that has enough: it keeps what it has of the log, and is given nothing more
// until it reads.
func (c *chat[T]) freezeLocked(s *Subscriber[T]) {
	c.watch.remove(s)
	s.place = placeFrozen
	s.frozen = s.segment.Swap(nil).View(c.log.Head())
}

// holdLocked makes the log hold the last n messages for a reader that leaves the watched list, and so holds none itself.
func (c *chat[T]) holdLocked(n uint64, from *seglog.Segment[T]) {
	if c.held == nil {
		c.held = make(map[uint64]int)
	}
	c.held[n]++
	c.log.Keep(c.window(), from)
}

// releaseLocked ends holdLocked.
func (c *chat[T]) releaseLocked(n uint64) {
	if c.held[n]--; c.held[n] == 0 {
		delete(c.held, n)
	}
	c.log.Keep(c.window(), nil)
}

// window returns how many messages the log must hold.
func (c *chat[T]) window() (n uint64) {
	for size := range c.held {
		n = max(n, size)
	}
	return n
}
