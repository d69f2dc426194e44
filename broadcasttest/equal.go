package broadcasttest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/fbd86cad/broadcast"
)

// Equal fails the test unless deliveries are those that are wanted, and shows how they differ. Messages are compared as by
// [reflect.DeepEqual]. The identity of the log, which a delivery carries for its Position and a literal cannot have, is left out.
func Equal[T any](t testing.TB, got, want []broadcast.Delivery[T]) {
	t.Helper()
	if diff := difference(got, want); diff != "" {
		t.Errorf("deliveries differ, - is wanted, + is what came:%s", diff)
	}
}

// difference returns a line for each delivery, with two for each that is not as wanted, each after a line feed; nothing if
// all are.
func difference[T any](got, want []broadcast.Delivery[T]) string {
	var lines strings.Builder
	equal := true
	for i := range max(len(got), len(want)) {
		if i < len(got) && i < len(want) && reflect.DeepEqual(bare(got[i]), bare(want[i])) {
			lines.WriteString("\n\t  " + describe(got[i]))
			continue
		}
		equal = false
		line := describe[T]
		if i < len(got) && i < len(want) && line(got[i]) == line(want[i]) {
			line = inDetail[T]
		}
		if i < len(want) {
			lines.WriteString("\n\t- " + line(want[i]))
		}
		if i < len(got) {
			lines.WriteString("\n\t+ " + line(got[i]))
		}
	}
	if equal {
		return ""
	}
	return lines.String()
}

// inDetail is describe for deliveries of which that shows no difference.
func inDetail[T any](d broadcast.Delivery[T]) string {
	return fmt.Sprintf("%s, a %T: %#v", describe(d), d.Message, d.Message)
}

// bare returns a delivery without the identity of its log.
func bare[T any](d broadcast.Delivery[T]) broadcast.Delivery[T] {
	return broadcast.Delivery[T]{Chat: d.Chat, Seq: d.Seq, Missed: d.Missed, Kind: d.Kind, Device: d.Device, Message: d.Message}
}
