package tui

import (
	"context"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

const (
	maxQueued = 64  // lines typed that the chat has not taken
	maxBatch  = 256 // events that are shown at once
)

// workers are the goroutines beside the event loop. They end with ctx, and so must what they run.
type workers struct {
	ctx    context.Context
	send   func(tea.Msg) // does nothing once the event loop is over
	group  sync.WaitGroup
	orders chan order
}

// An order is something to do, and its result a message for Update.
type order func(ctx context.Context) tea.Msg

func newWorkers(ctx context.Context, send func(tea.Msg)) *workers {
	return &workers{ctx: ctx, send: send, orders: make(chan order, maxQueued)}
}

// serve begins to show the chat's events and to do what is queued.
func (w *workers) serve(c Chat) {
	w.group.Go(func() { w.watch(c.Events()) })
	w.group.Go(w.obey)
}

// wait returns when all goroutines have ended. The event loop must be over, as it could start more.
func (w *workers) wait() { w.group.Wait() }

// start implements background.
func (w *workers) start(do order) context.CancelFunc {
	ctx, cancel := context.WithCancel(w.ctx)
	w.group.Go(func() {
		defer cancel()
		w.send(do(ctx))
	})
	return cancel
}

// queue implements background.
func (w *workers) queue(do order) bool {
	select {
	case w.orders <- do:
		return true
	default:
		return false
	}
}

// obey does what is queued, one after the other.
func (w *workers) obey() {
	for {
		select {
		case <-w.ctx.Done():
			return
		case do := <-w.orders:
			w.send(do(w.ctx))
		}
	}
}

// watch passes on events, in batches if there are many, and ticks, which update the displayed
// times.
func (w *workers) watch(events <-chan client.Event) {
	clock := time.NewTicker(time.Second)
	defer clock.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case now := <-clock.C:
			w.send(tickMsg(now))
		case e, ok := <-events:
			if !ok {
				w.send(goneMsg{})
				return
			}
			w.send(gather(e, events))
		}
	}
}

// gather returns first and what else is there already. That there is no more it leaves to be
// noticed later.
func gather(first client.Event, events <-chan client.Event) eventsMsg {
	batch := eventsMsg{first}
	for n := min(len(events), maxBatch-1); n > 0; n-- {
		e, ok := <-events
		if !ok {
			break
		}
		batch = append(batch, e)
	}
	return batch
}
