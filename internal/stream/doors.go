package stream

import "sync"

// Doors counts the requests that are being served, and tracks the connections that can be cut. Once
// the doors are shut, no request enters. The zero Doors are open. All methods are safe for
// concurrent use.
type Doors struct {
	mu     sync.Mutex
	inside int
	empty  chan struct{} // made by the first shut, closed by the last who leaves after that
	open   map[Cutter]struct{}
	isCut  bool // what is added from now on is cut at once
}

// A Cutter is a connection that can be ended at once.
type Cutter interface {
	// Cut closes the connection without telling the client why. It does not block.
	Cut()
}

// Enter reports whether the doors are open. If they are, the caller must call Leave.
func (d *Doors) Enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.empty != nil {
		return false
	}
	d.inside++
	return true
}

// Leave undoes one Enter that returned true.
func (d *Doors) Leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside--
	if d.empty != nil && d.inside == 0 {
		close(d.empty)
	}
}

// IsShut reports whether the doors are shut.
func (d *Doors) IsShut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.empty != nil
}

// Add adds a connection, which cut closes. After cut it is closed at once.
func (d *Doors) Add(c Cutter) {
	d.mu.Lock()
	late := d.isCut
	if !late {
		if d.open == nil {
			d.open = make(map[Cutter]struct{})
		}
		d.open[c] = struct{}{}
	}
	d.mu.Unlock()
	if late {
		c.Cut()
	}
}

// Remove undoes Add.
func (d *Doors) Remove(c Cutter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, c)
}

// shut shuts the doors, and returns a channel that is closed when nobody is inside.
func (d *Doors) shut() (empty <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.empty == nil {
		d.empty = make(chan struct{})
		if d.inside == 0 {
			close(d.empty)
		}
	}
	return d.empty
}

// cut cuts all connections, and those that are added later.
func (d *Doors) cut() {
	d.mu.Lock()
	open := d.open
	d.open, d.isCut = nil, true
	d.mu.Unlock()
	for c := range open {
		c.Cut()
	}
}
