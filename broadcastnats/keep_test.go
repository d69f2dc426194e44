package broadcastnats

import (
	"context"
	"testing"
	"time"
)

// The answer for which a look waits may be lost with the leader that was asked, or the connection.
// The next look must not wait for the timeout of this one. Calls that fail raise doubt all the
// time, and must not keep a look from coming to its end.
func TestALookEndsWhenItsAnswerMayBeLost(t *testing.T) {
	for r, ends := range map[reason]bool{drop: false, doubt: false, elected: true, cut: true} {
		k := keeper{wake: make(chan struct{}, 1)}
		k.tell(r) // there is no look yet
		k.take()
		look, done := k.begin(context.Background(), time.Hour)
		defer done()
		k.tell(r)
		if ended := look.Err() != nil; ended != ends {
			t.Errorf("reason %d: the look has ended: %v", r, ended)
		}
		if k.take() != r {
			t.Errorf("reason %d: there is no other look", r)
		}
	}
}
