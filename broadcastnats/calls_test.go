package broadcastnats

import (
	"testing"
	"time"
)

func TestAppendsOfWhichNothingIsHeardAreForgotten(t *testing.T) {
	c := &testSession().calls
	begin := time.Now()
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{0, 2}, {forgetAfter - 1, 4}, {forgetAfter, 6}, {2*forgetAfter - 1, 8}, {2 * forgetAfter, 8}} {
		for _, isAppend := range []bool{true, false} {
			c.add(&call{append: isAppend}, begin.Add(step.after))
		}
		if n := len(c.waiting); n != step.left {
			t.Errorf("after %v there are %d calls, not %d", step.after, n, step.left)
		}
	}
}
