package stream

import (
	"net/http"
	"runtime/debug"
)

// An Observer is told what happens to the connections of a server. Any of its functions may be nil.
// They are called concurrently, on the goroutines that serve the connections, and should be quick.
type Observer struct {
	Opened  func()                  // a connection delivers from now on
	Refused func(status int)        // a request was answered with an error
	Closed  func(reason error)      // a connection that was opened has ended
	Batch   func(frames, bytes int) // a batch was written
	Short   func(bytes int)         // the connection did not take a batch at once: what was left
}

// TellOpened counts a connection and tells the Observer. Here and in the methods below, a panic of
// the Observer is logged.
func (c *Core[T]) TellOpened(about About) {
	c.counters.opened.Add(1)
	if c.Observe.Opened != nil {
		defer c.survive("Observe", about)
		c.Observe.Opened()
	}
}

func (c *Core[T]) tellRefused(about About, status int) {
	c.counters.addRefused(status)
	if c.Observe.Refused != nil {
		defer c.survive("Observe", about)
		c.Observe.Refused(status)
	}
}

// TellClosed counts the end of a connection and tells the Observer.
func (c *Core[T]) TellClosed(about About, reason error) {
	c.counters.addClosed(reason)
	if c.Observe.Closed != nil {
		defer c.survive("Observe", about)
		c.Observe.Closed(reason)
	}
}

func (c *Core[T]) tellBatch(about About, frames, bytes int) {
	c.counters.addBatch(frames, bytes)
	if c.Observe.Batch != nil {
		defer c.survive("Observe", about)
		c.Observe.Batch(frames, bytes)
	}
}

// ShortOf returns a function that counts a short write to one connection and tells the Observer.
func (c *Core[T]) ShortOf(r *http.Request) func(bytes int) {
	if c.Observe.Short == nil {
		return c.countShort
	}
	about := AboutOf(r)
	return func(bytes int) {
		c.countShort(bytes)
		defer c.survive("Observe", about)
		c.Observe.Short(bytes)
	}
}

// survive logs a panic of a function of the service: on a goroutine of a connection it would end
// the program. It must be deferred.
func (c *Core[T]) survive(what string, about About) {
	if p := recover(); p != nil {
		c.Fail(what+" failed", about, &PanicError{p, debug.Stack()})
	}
}
