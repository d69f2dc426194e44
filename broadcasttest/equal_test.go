package broadcasttest_test

import (
	"testing"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

func TestEqualLooksAtAllThatIsVisible(t *testing.T) {
	d := broadcast.Delivery[string]{Chat: "room", Seq: 3, Missed: 1, Kind: broadcast.Joined, Device: "ann", Message: "one"}
	for name, change := range map[string]func(*broadcast.Delivery[string]){
		"chat":    func(d *broadcast.Delivery[string]) { d.Chat = "hall" },
		"seq":     func(d *broadcast.Delivery[string]) { d.Seq++ },
		"missed":  func(d *broadcast.Delivery[string]) { d.Missed++ },
		"kind":    func(d *broadcast.Delivery[string]) { d.Kind = broadcast.Left },
		"device":  func(d *broadcast.Delivery[string]) { d.Device = "bob" },
		"message": func(d *broadcast.Delivery[string]) { d.Message = "two" },
	} {
		t.Run(name, func(t *testing.T) {
			other := d
			change(&other)
			requireFailure(t, func(t testing.TB) {
				broadcasttest.Equal(t, []broadcast.Delivery[string]{d}, []broadcast.Delivery[string]{other})
			}, "\n\t- ", "\n\t+ ")
		})
	}
}

func TestEqualLeavesTheIdentityOfTheLogOut(t *testing.T) {
	b, s := room(t)
	publish(t, b, "room", "one")
	got := broadcasttest.Take(t, s, 1, 0)
	want := []broadcast.Delivery[string]{{Chat: "room", Seq: 1, Message: "one"}}
	if got[0] == want[0] {
		t.Fatal("then nobody would need Equal")
	}
	broadcasttest.Equal(t, got, want)
	broadcasttest.Equal(t, want, got)
	broadcasttest.Equal[string](t, nil, []broadcast.Delivery[string]{})
}

func TestEqualShowsHowTheyDiffer(t *testing.T) {
	got := []broadcast.Delivery[string]{{Chat: "room", Seq: 1, Message: "one"}, {Chat: "room", Seq: 4, Missed: 2, Message: "four"}}
	want := []broadcast.Delivery[string]{{Chat: "room", Seq: 1, Message: "one"}, {Chat: "room", Seq: 2, Message: "two"}, {Chat: "room", Seq: 3}}
	requireFailure(t, func(t testing.TB) { broadcasttest.Equal(t, got, want) }, lines(
		`deliveries differ, - is wanted, + is what came:`,
		`	  room #1: "one"`,
		`	- room #2: "two"`,
		`	+ room #4: "four" (missed before it: 2)`,
		`	- room #3: ""`,
	))
	requireFailure(t, func(t testing.TB) { broadcasttest.Equal(t, got, nil) }, lines(
		`deliveries differ, - is wanted, + is what came:`,
		`	+ room #1: "one"`,
		`	+ room #4: "four" (missed before it: 2)`,
	))
}

// What looks the same is shown in more detail.
func TestEqualShowsADifferenceThatIsHardToSee(t *testing.T) {
	got := []broadcast.Delivery[any]{{Chat: "room", Seq: 1, Message: int32(1)}}
	want := []broadcast.Delivery[any]{{Chat: "room", Seq: 1, Message: int64(1)}}
	requireFailure(t, func(t testing.TB) { broadcasttest.Equal(t, got, want) }, lines(
		`	- room #1: 1, a int64: 1`,
		`	+ room #1: 1, a int32: 1`,
	))
}
