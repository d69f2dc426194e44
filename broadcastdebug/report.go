package broadcastdebug

import (
	"cmp"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// The most that a report lists.
const (
	mostChats         = 50
	mostLaggards      = 50
	mostSubscriptions = 200
)

// A Report is what the page shows.
type Report struct {
	Time  time.Time       // when the report was made
	Stats broadcast.Stats // of the broker

	// Engine holds the counters of the broker's connection with its engine. They are all zero
	// without one.
	Engine broadcast.EngineStats

	// Chats are the chats with subscribers, at most 50 of them: those with the most waiting
	// publishers first, then those with the most missed, then those with the most pending messages.
	Chats []Chat

	// Laggards are the 50 subscriptions that are furthest behind. The report of one chat lists the 200
	// of its subscriptions that are furthest behind.
	Laggards []broadcast.SubscriptionInfo

	// Servers holds the counters of the servers passed to Handler, added up for each transport. It is
	// empty in the report of one chat.
	Servers []broadcastsse.Stats

	Chat    string // the chat that was asked for, if any
	Unknown bool   // there is no such chat
}

// A Chat is a chat and its counters.
type Chat struct {
	Name string
	broadcast.ChatStats
}

// source is what a report is made of: a broker of any type.
type source interface {
	Stats() broadcast.Stats
	Engine() broadcast.EngineStats
	Chats() []string
	ChatStats(chat string) (broadcast.ChatStats, bool)
	Subscriptions(chat string) iter.Seq[broadcast.SubscriptionInfo]
	Laggards(n int) []broadcast.SubscriptionInfo
}

// reporter makes reports, and reuses each for a while.
type reporter struct {
	source  source
	servers []interface{ Stats() broadcastsse.Stats }

	mu   sync.Mutex // held while a report is made, so that those who want it wait for one
	made map[string]made
}

// made is a report that may be reused until a given time.
type made struct {
	report *Report
	until  time.Time
}

// mostMade is the number of reports that are kept.
const mostMade = 16

// report returns a report of a chat, or of the broker if chat is empty.
func (r *reporter) report(chat string) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	if m := r.made[chat]; began.Before(m.until) {
		return m.report
	}
	report := &Report{
		Time: began, Stats: r.source.Stats(), Engine: r.source.Engine(), Chat: chat,
	}
	if chat == "" {
		report.Chats = r.chats()
		report.Laggards = r.source.Laggards(mostLaggards)
		report.Servers = stream.Totals(r.servers)
	} else {
		r.describe(report)
	}
	now := time.Now()
	if len(r.made) >= mostMade {
		clear(r.made)
	}
	r.made[chat] = made{report, now.Add(max(time.Second, 10*now.Sub(began)))}
	return report
}

// describe fills the report of one chat.
func (r *reporter) describe(report *Report) {
	stats, ok := r.source.ChatStats(report.Chat)
	if report.Unknown = !ok; ok {
		report.Chats = []Chat{{report.Chat, stats}}
	}
	var found []broadcast.SubscriptionInfo
	for info := range r.source.Subscriptions(report.Chat) {
		if found = append(found, info); len(found) == 2*mostSubscriptions {
			found = furthestBehind(found)
		}
	}
	report.Laggards = furthestBehind(found)
}

// furthestBehind sorts subscriptions, and returns the first of them: those that lose or block, then
// those with the fullest buffers, then those that have missed most.
func furthestBehind(all []broadcast.SubscriptionInfo) []broadcast.SubscriptionInfo {
	slices.SortFunc(all, func(a, b broadcast.SubscriptionInfo) int {
		return cmp.Or(
			cmp.Compare(urgency(b.State), urgency(a.State)), cmp.Compare(share(b), share(a)),
			cmp.Compare(b.Missed, a.Missed), cmp.Compare(a.Device, b.Device))
	})
	return all[:min(mostSubscriptions, len(all))]
}

// urgency ranks a state by how much it matters to somebody who looks for a slow reader.
func urgency(state string) int {
	return slices.Index([]string{"good", "warn", "bad"}, class(state))
}

// chats returns the chats that a report lists.
func (r *reporter) chats() (chats []Chat) {
	for _, name := range r.source.Chats() {
		if stats, ok := r.source.ChatStats(name); ok {
			chats = append(chats, Chat{name, stats})
		}
		if len(chats) == 2*mostChats {
			chats = first(chats)
		}
	}
	return first(chats)
}

// first sorts chats, and returns the first of them.
func first(chats []Chat) []Chat {
	slices.SortStableFunc(chats, func(a, b Chat) int {
		return cmp.Or(
			cmp.Compare(b.PublishersWaiting, a.PublishersWaiting),
			cmp.Compare(b.Missed, a.Missed), cmp.Compare(b.Pending, a.Pending))
	})
	return chats[:min(mostChats, len(chats))]
}
