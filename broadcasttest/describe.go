package broadcasttest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fbd86cad/broadcast"
)

// Limits of failure messages.
const (
	listed  = 20  // deliveries listed at most
	visible = 200 // bytes shown of a message at most
)

// list returns the deliveries as text, each on an indented line of its own. If there are many, one
// line stands for those in the middle.
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

// message returns a message as text on one line, shortened, and quoted if it could be taken for
// something else.
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

// condition describes the state of a subscription, after Next has returned err.
func condition[T any](s *broadcast.Subscriber[T], err error) string {
	end := "open"
	if reason := s.Err(); reason != nil {
		end = fmt.Sprintf("ended (%v)", reason)
	} else if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		end = fmt.Sprintf("open (%v)", err)
	}
	return fmt.Sprintf("the subscription of %q to %q is %s: %s",
		s.Device(), s.Chat(), end, books(s.Stats()))
}

// books returns the counters of a subscription on one line.
func books(b broadcast.SubscriberStats) string {
	return fmt.Sprintf("joined after #%d, head #%d, delivered %d, missed %d, pending %d, discarded %d",
		b.Joined, b.Head, b.Delivered, b.Missed, b.Pending, b.Discarded)
}
