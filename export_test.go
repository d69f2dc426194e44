package broadcast

import "fmt"

// Leftovers names what a broker holds beyond its open subscriptions: waiting readers and publishers, marks, lists that should be
// empty when nothing is going on. Tests look at it when all is quiet and readers have taken everything.
func Leftovers[T any](b *Broker[T]) (left []string) {
	check := func(name, what string, n int) {
		if n != 0 {
			left = append(left, fmt.Sprintf("%s: %d %s", name, n, what))
		}
	}
	b.distributor.mu.Lock()
	check("distributor", "queued", len(b.distributor.queue))
	b.distributor.mu.Unlock()
	chats := 0
	for name, c := range b.chats.All() {
		chats++
		c.mu.Lock()
		check(name, "awaited readers", int(c.awaiting.Load()))
		check(name, "publishers waiting", c.waiters.len())
		check(name, "full readers", len(c.watch.full))
		check(name, "readers on the watchlist beyond the open ones", len(c.watch.due)-c.readers.Len())
		check(name, "sizes held for readers off the list", len(c.held))
		check(name, "readers to be sampled", len(c.pressed))
		if a := c.absent; a != nil {
			check(name, "devices that may come back, or a trace of them", max(1, len(a.queue)))
		}
		check(name, "places where none of the readers waits", max(0, c.parked.Taken()-c.readers.Len()))
		if p := c.presence.Load(); p != nil {
			check(name, "places where no follower waits", max(0, p.parked.Taken()-p.followers))
			if p.followers == 0 {
				check(name, "comings and goings for nobody", 1)
			}
		}
		for _, s := range c.readers.All() {
			check(name+"/"+s.device, "flags", int(s.word.Load()&flags))
			if s.segment.Load() == nil || s.frozen != nil || s.spent || s.overrun || s.place != placeDue {
				check(name+"/"+s.device, "signs of having been slow", 1)
			}
		}
		c.mu.Unlock()
	}
	b.chats.Lock()
	check("registry", "more or fewer chats than it lists", b.chats.LenLocked()-chats)
	b.chats.Unlock()
	if b.state.Load() == stateClosed {
		check("registry", "chats", chats)
		check("cleaner", "chats due", len(b.cleaner.queue))
		check("background", "goroutines", b.background.n)
	}
	return left
}

func (q *waiterQueue[T]) len() (n int) {
	for w := q.head; w != nil; w = w.next {
		n++
	}
	return n
}
