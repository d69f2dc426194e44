package presence

import "fmt"

// Leftovers returns what a State holds beyond its followers. Tests use it to check that nothing is
// left over.
func (s *State) Leftovers() (left []string) {
	if s.absent != nil {
		left = append(left, fmt.Sprintf("%d devices that may come back, or a trace of them", s.Absent()))
	}
	f := s.feed.Load()
	if f == nil {
		return left
	}
	if n := f.parked.Taken() - f.followers; n > 0 {
		left = append(left, fmt.Sprintf("%d places where no follower waits", n))
	}
	if f.followers == 0 {
		left = append(left, "events for nobody")
	}
	return left
}
