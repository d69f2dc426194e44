package broadcast

// This file keeps which devices of a chat are on other nodes of its engine, and tells them which
// are here. Its methods may be called on a nil feed: that of a chat without an engine.

// arriveLocked notes that a device has a new subscription here.
func (f *feed[T]) arriveLocked(device string) {
	if f == nil || device == "" {
		return
	}
	f.tickets[device] = f.node.Arrive(device)
}

// departLocked notes that a device has no subscription here any more.
func (f *feed[T]) departLocked(device string) {
	if f != nil {
		delete(f.tickets, device)
		f.node.Depart(device)
	}
}

// hasLocked reports whether another node has a device.
func (f *feed[T]) hasLocked(device string) bool {
	if f == nil {
		return false
	}
	_, ok := f.elsewhere[device]
	return ok
}

// awayLocked returns how many devices are present on other nodes alone.
func (f *feed[T]) awayLocked() int {
	if f == nil {
		return 0
	}
	return f.away
}
