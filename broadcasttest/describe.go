package broadcasttest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fbd86cad/broadcast"
)

// What the messages of failed tests say. Deliveries are on lines of their own, indented.

const (
	listed  = 20  // deliveries at most
	visible = 200 // bytes at most of a message
)

// list returns a line for each delivery, each after a line feed, or for those in the middle one for all if they are many.
func list[T any](deliveries []broadcast.Delivery[T]) string {
	var lines strings.Builder
	for i, d := range deliveries {
		switch skipped := len(deliveries) - listed; {
		case skipped <= 0 || i < listed/2 || i >= listed/2+skipped:
			lines.WriteString("\n\t" + describe(d))
		case i == listed/2:
			fmt.Fprintf(&lines, "\n\t… and %d more …", skipped)
		}
	}
	return lines.String()
}

// describe returns a delivery on one line.
func describe[T any](d broadcast.Delivery[T]) string {
	line := fmt.Sprintf("%s #%d: ", d.Chat, d.Seq)
	switch d.Kind {
	case broadcast.Published:
		line += message(d.Message)
	case broadcast.Resync:
		line += d.Kind.String()
	default:
		line += fmt.Sprintf("%v %s", d.Kind, d.Device)
	}
	if d.Missed > 0 {
		line += fmt.Sprintf(" (missed before it: %d)", d.Missed)
	}
	return line
}

// message returns a message as text on one line, quoted if it could be taken for something else, and cut.
func message(m any) string {
	var text string
	switch m := m.(type) {
	case string, []byte:
		text = fmt.Sprintf("%q", m)
	default:
		if text = fmt.Sprintf("%+v", m); strings.ContainsAny(text, "\r\n") {
			text = fmt.Sprintf("%q", text)
		}
	}
	if len(text) > visible {
		text = strings.ToValidUTF8(text[:visible], "") + "…"
	}
	return text
}

// condition says how a subscription is, after an error of Next.
func condition[T any](s *broadcast.Subscriber[T], err error) string {
	end := "open"
	if reason := s.Err(); reason != nil {
		end = fmt.Sprintf("ended (%v)", reason)
	} else if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		end = fmt.Sprintf("open (%v)", err)
	}
	return fmt.Sprintf("the subscription of %q to %q is %s: %s", s.Device(), s.Chat(), end, books(s.Stats()))
}

// books returns the books of a subscription on one line.
func books(b broadcast.SubscriberStats) string {
	return fmt.Sprintf("joined after #%d, head #%d, delivered %d, missed %d, pending %d, discarded %d",
		b.Joined, b.Head, b.Delivered, b.Missed, b.Pending, b.Discarded)
}
