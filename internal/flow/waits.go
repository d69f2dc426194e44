package flow

import "time"

// Waits counts what waiting for readers has cost publishers.
type Waits struct {
	Waiting    int           // publishers that wait now
	Publishers uint64        // publishers that waited, and do not any more
	Time       time.Duration // how long these have waited
	GivenUp    uint64        // how often publishers have waited for a reader until patience was over
}

// Add adds other counts.
func (w *Waits) Add(o Waits) {
	w.Waiting += o.Waiting
	w.Publishers += o.Publishers
	w.Time += o.Time
	w.GivenUp += o.GivenUp
}

// Waits returns what waiting for the readers of the gate has cost publishers.
func (g *Gate) Waits() Waits {
	if g.full == nil {
		return Waits{}
	}
	return g.full.waits
}

// TakeWaits is like Waits, but without the publishers that still wait, and starts again from 0.
func (g *Gate) TakeWaits() (w Waits) {
	if g.full != nil {
		w = g.full.waits
		g.full.waits = Waits{Waiting: w.Waiting}
		w.Waiting = 0
	}
	return w
}

// begin adds a publisher that waits from now on.
func (w *Waits) begin() { w.Waiting++ }

// end removes a publisher, which has waited for the given time.
func (w *Waits) end(waited time.Duration) {
	w.Waiting--
	w.Publishers++
	w.Time += waited
}
