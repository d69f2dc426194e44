package presence

import (
	"time"

	"github.com/fbd86cad/broadcast/internal/smallmap"
)

// absence holds the absent devices, of which there is at least one.
type absence struct {
	devices     smallmap.Map[string, *leaver]
	first, last *leaver // list in the order of until
}

// leaver is an absent device.
type leaver struct {
	device     string
	until      time.Time
	prev, next *leaver
}

// Leave makes a device absent: it may come back before the given time, which must not be earlier
// than that of any other absent device. The device must not be absent already.
func (s *State) Leave(device string, until time.Time) {
	if s.absent == nil {
		s.absent = new(absence)
	}
	a := s.absent
	l := &leaver{device: device, until: until, prev: a.last}
	if a.last == nil {
		a.first = l
	} else {
		a.last.next = l
	}
	a.last = l
	a.devices.Set(device, l)
}

// Return ends the absence of a device. It returns false if the device was not absent.
func (s *State) Return(device string) bool {
	if s.absent == nil {
		return false
	}
	l := s.absent.devices.Get(device)
	if l == nil {
		return false
	}
	s.end(l)
	return true
}

// Absent returns the number of absent devices.
func (s *State) Absent() int {
	if s.absent == nil {
		return 0
	}
	return s.absent.devices.Len()
}

// Grace returns when the next grace ends, or has ended. It returns the zero time if no device is
// absent.
func (s *State) Grace() (until time.Time) {
	if s.absent == nil {
		return until
	}
	return s.absent.first.until
}

// Expire ends the absence of one device whose grace is over, and returns the device. It returns
// false if there is none.
func (s *State) Expire(now time.Time) (device string, ok bool) {
	if s.absent == nil || now.Before(s.absent.first.until) {
		return "", false
	}
	l := s.absent.first
	s.end(l)
	return l.device, true
}

// end removes an absent device.
func (s *State) end(l *leaver) {
	a := s.absent
	if l.prev == nil {
		a.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		a.last = l.prev
	} else {
		l.next.prev = l.prev
	}
	a.devices.Delete(l.device)
	if a.first == nil {
		s.absent = nil
	}
}
