package broadcasttest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/fbd86cad/broadcast"
)

// Equal fails the test unless got equals want, and shows the differences. Messages are compared as
// by [reflect.DeepEqual]. The identity of the log, which a delivery carries for its Position and a
// literal cannot have, is ignored.
func Equal[T any](t testing.TB, got, want []broadcast.Delivery[T]) {
	t.Helper()
	if diff := difference(got, want); diff != "" {
		t.Errorf("deliveries differ, - is wanted, + is what came:%s", diff)
	}
}

// difference returns "" if got equals want. Otherwise it returns a line for each delivery that is
// equal, and two for each that differs, each after a line feed.
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

// inDetail is like describe, for deliveries that look the same there although they differ.
func inDetail[T any](d broadcast.Delivery[T]) string {
	return fmt.Sprintf("%s, a %T: %#v", describe(d), d.Message, d.Message)
}

// bare returns a delivery without the identity of its log.
func bare[T any](d broadcast.Delivery[T]) broadcast.Delivery[T] {
	return broadcast.Delivery[T]{
		Chat: d.Chat, Seq: d.Seq, Missed: d.Missed, Kind: d.Kind, Device: d.Device, Message: d.Message,
	}
}
