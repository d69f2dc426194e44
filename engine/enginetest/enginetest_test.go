package enginetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// configOf describes an engine in memory.
func configOf(e *memengine.Engine, keep int) Config {
	return Config{
		New: func() engine.Engine { return e.Client() },
		Cut: func(driver engine.Engine) func() {
			c := driver.(interface {
				Cut()
				Restore()
			})
			c.Cut()
			return c.Restore
		},
		Forget: e.Restart,
		Keep:   keep,
		Settle: time.Second,
	}
}

func TestTheEngineInMemoryKeepsTheContract(t *testing.T) {
	for name, faults := range map[string]memengine.Faults{
		"calm": {}, "answers that are out of date": {Stale: 1},
	} {
		for _, keep := range []int{0, 1, 5} {
			for _, c := range checks {
				t.Run(fmt.Sprintf("%s/keep=%d/%s", name, keep, c.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						e := memengine.New(1, time.Millisecond, keep)
						e.SetFaults(faults)
						require.NoError(t, c.run(configOf(e, keep)))
					})
				})
			}
		}
	}
}

// broken is a driver that breaks the contract in one way.
type broken struct {
	*memengine.Client
	how string
}

func (b broken) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	_, err := b.Client.Open(ctx, &brokenSink{sink, b.how, 0})
	return b, err
}

func (b broken) Append(
	chat string, after engine.Place, batch [][]byte, id string, done func(engine.Place, error),
) {
	switch b.how {
	case "batches are cut":
		batch = batch[:min(len(batch), 100)]
	case "names are folded":
		chat = strings.ToLower(chat)
	}
	if b.how == "appends are lost" && len(batch) > 0 {
		after.Seq += uint64(len(batch))
		after.Mark++
		done(after, nil)
		return
	}
	b.Client.Append(chat, after, batch, id, func(place engine.Place, err error) {
		switch {
		case b.how == "appends are answered twice":
			done(place, err)
		case b.how == "appends are answered late":
			time.AfterFunc(time.Millisecond, func() { done(place, err) })
			return
		case err == nil:
		case b.how == "the condition is ignored":
			heads, _ := b.Client.Heads(context.Background(), chat)
			b.Client.Append(chat, heads[0].Place, batch, id, done)
			return
		case b.how == "conflicts are not told":
			err = nil
		}
		done(place, err)
	})
}

func (b broken) Heads(ctx context.Context, chats ...string) ([]engine.Record, error) {
	if b.how == "contexts are ignored" {
		ctx = context.WithoutCancel(ctx)
	}
	heads, err := b.Client.Heads(ctx, chats...)
	switch {
	case err != nil:
	case b.how == "heads are invented":
		heads[0].Mark++
	case b.how == "heads are in another order":
		slices.Reverse(heads)
	case b.how == "heads have no ids":
		heads[0].ID = ""
	}
	return heads, err
}

func (b broken) Purge(ctx context.Context, chat string, mark uint64) error {
	switch b.how {
	case "nothing is purged":
		return nil
	case "everything is purged":
		mark += 1 << 20
	}
	return b.Client.Purge(ctx, chat, mark)
}

func (b broken) Read(
	ctx context.Context, chat string, after engine.Place, most int,
) ([]engine.Record, error) {
	records, err := b.Client.Read(ctx, chat, after, most)
	for i := range records {
		switch b.how {
		case "ids are not kept":
			records[i].ID = ""
		case "records do not name the one before":
			records[i].Prev = 0
		}
	}
	return records, err
}

func (b broken) Unfollow(chats ...string) {
	if b.how != "chats are followed for ever" {
		b.Client.Unfollow(chats...)
	}
}

func (b broken) Close(ctx context.Context) error {
	if b.how == "sessions stay open" {
		time.AfterFunc(time.Second, func() { _ = b.Client.Close(ctx) })
		return nil
	}
	return b.Client.Close(ctx)
}

type brokenSink struct {
	engine.Sink
	how string
	ups int
}

func (s *brokenSink) Stored(chat string, r engine.Record) {
	switch {
	case s.how == "records are not handed over" && r.Seq%10 == 0 && r.Seq > 0,
		s.how == "records without messages are not handed over" && len(r.Batch) == 0:
		return
	}
	s.Sink.Stored(chat, r)
}

func (s *brokenSink) Sent(subject string, data []byte) {
	if s.how == "all get nothing" && subject == "" {
		return
	}
	if s.how == "what is sent is cut" {
		data = data[:min(len(data), 40)]
	}
	s.Sink.Sent(subject, data)
}

func (s *brokenSink) Up(up bool) {
	if s.ups++; s.how == "reconnections are not told" && s.ups > 1 {
		return
	}
	s.Sink.Up(up)
}

func TestAnEngineThatBreaksTheContractIsFound(t *testing.T) {
	found := make(map[string]bool)
	for how, name := range map[string]string{
		"heads are invented":                           "a chat without records has no head",
		"heads have no ids":                            "what was appended can be read",
		"nothing is purged":                            "what is purged is gone, and nothing else",
		"everything is purged":                         "what is purged is gone, and nothing else",
		"ids are not kept":                             "what was appended can be read",
		"records do not name the one before":           "marks grow, and each record names the one before",
		"the condition is ignored":                     "a record is appended only after the newest one",
		"conflicts are not told":                       "of appends with the same condition one succeeds",
		"records without messages are not handed over": "an epoch may begin after a record",
		"records are not handed over":                  "what is stored is handed to all that follow, as it is read",
		"chats are followed for ever":                  "a chat that is not followed any more is not handed over",
		"names are folded":                             "names are told apart, whatever they consist of",
		"heads are in another order":                   "a thousand chats are followed and asked for together",
		"batches are cut":                              "a large batch is stored whole",
		"too much is kept":                             "of old records the newest stay",
		"contexts are ignored":                         "calls end with their contexts",
		"sessions stay open":                           "after Close there is nothing",
		"appends are answered twice":                   "an append is answered at most once, and not after Close",
		"appends are answered late":                    "an append is answered at most once, and not after Close",
		"reconnections are not told":                   "a node that was cut off comes back",
		"all get nothing":                              "what is sent reaches those that follow, or all",
		"appends are lost":                             "nodes agree on one order",
		"what is sent is cut":                          "nodes forget a chat",
		"nothing is forgotten":                         "an engine that has lost its memory begins anew",
	} {
		t.Run(how, func(t *testing.T) {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
			require.GreaterOrEqual(t, i, 0)
			synctest.Test(t, func(t *testing.T) {
				e := memengine.New(1, time.Millisecond, 5)
				config := configOf(e, 5)
				config.New = func() engine.Engine { return broken{e.Client(), how} }
				switch how {
				case "appends are lost":
					config.Keep = 0
				case "too much is kept":
					config.Keep = 3
				case "nothing is forgotten":
					config.Forget = func() {}
				}
				require.Error(t, checks[i].run(config))
				time.Sleep(2 * time.Second) // what stays open is closed by then
			})
			found[name] = true
		})
	}
	require.Len(t, found, len(checks), "a check of which no test shows that it can fail")
}
