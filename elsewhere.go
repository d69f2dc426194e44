package broadcast

// This file is about the devices of a chat that other nodes of the engine have, and tells these
// nodes which devices are here. Its methods may be called on a nil feed, which a chat without an
// engine has.

// arriveLocked notes that a device has a new subscription here.
func (f *feed[T]) arriveLocked(device string) {
	if f == nil || device == "" {
		return
	}
	f.tickets[device] = f.node.Arrive(device)
}

// departLocked notes that a device has no subscription here any more, and whether it was kicked.
// What is noted once need not be noted again.
func (f *feed[T]) departLocked(device string, kicked bool) {
	if f == nil || f.tickets[device] == 0 && !kicked {
		return
	}
	delete(f.tickets, device)
	f.node.Depart(device, kicked)
}

// hasLocked reports whether another node has a device.
func (f *feed[T]) hasLocked(device string) bool {
	if f == nil {
		return false
	}
	_, ok := f.elsewhere[device]
	return ok
}

// awayLocked returns how many devices have a subscription on other nodes and none here.
func (f *feed[T]) awayLocked() int {
	if f == nil {
		return 0
	}
	return f.away
}
