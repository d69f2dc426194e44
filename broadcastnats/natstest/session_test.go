package natstest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/engine/enginetest"
)

// A sink is the sink of one session.
type sink struct {
	gate sync.Mutex // held by a test that delays what is handed over

	mu      sync.Mutex
	ups     int // calls of Up(true)
	up      bool
	records []engine.Record
	sent    int
}

func (s *sink) Stored(_ string, r engine.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, r)
}

func (s *sink) Sent(string, []byte) {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
}

func (s *sink) Up(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up = up; up {
		s.ups++
	}
}

func (s *sink) Failed(error) {}

// get returns something of the sink.
func get[T any](s *sink, what func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return what()
}

// open opens a session, which the test closes, and waits until it is up.
func open(t *testing.T, o broadcastnats.Options) (engine.Session, *sink) {
	t.Helper()
	s := new(sink)
	session, err := newEngine(t, o).Open(t.Context(), s)
	require.NoError(t, err)
	t.Cleanup(func() { _ = session.Close(context.Background()) })
	eventually(t, "up", func() bool { return get(s, func() bool { return s.up }) })
	return session, s
}

func TestANodeIsToldWhenMessagesWereDropped(t *testing.T) {
	s := startServer(t, options(t))
	o := broadcastnats.Options{URL: s.ClientURL()}
	slow, told := open(t, o)
	other, _ := open(t, o)
	require.NoError(t, slow.Follow(t.Context(), "c"))
	before := get(told, func() int { return told.ups })
	const many = 20_000 // more than the driver and the client keep
	told.gate.Lock()
	for i := range many {
		require.NoError(t, other.Send("c", []byte("x")))
		if i%1000 == 0 {
			_, err := other.Heads(t.Context(), "c") // so that the server gets them all
			require.NoError(t, err)
		}
	}
	_, err := slow.Heads(t.Context(), "c") // the client has got them all
	require.NoError(t, err)
	told.gate.Unlock()
	eventually(t, "Up(true)", func() bool { return get(told, func() int { return told.ups }) > before })
	require.Less(t, get(told, func() int { return told.sent }), many)
	_, err = enginetest.Append(t.Context(), slow, "c", engine.Place{Epoch: 1}, nil, "1")
	require.NoError(t, err)
	eventually(t, "what is stored after that", func() bool {
		return get(told, func() int { return len(told.records) }) == 1
	})
}

func TestWhatWasSentBeforeCloseArrives(t *testing.T) {
	s := startServer(t, options(t))
	o := broadcastnats.Options{URL: s.ClientURL()}
	_, told := open(t, o)
	for i := range 50 {
		session, err := newEngine(t, o).Open(t.Context(), new(sink))
		require.NoError(t, err)
		require.NoError(t, session.Send("", []byte("bye")))
		require.NoError(t, session.Close(t.Context()))
		eventually(t, "what was sent", func() bool { return get(told, func() int { return told.sent }) == i+1 })
	}
}

func TestAStreamThatIsUsedForSomethingElseIsRefused(t *testing.T) {
	s := startServer(t, options(t))
	js := admin(t, s.ClientURL())
	republish := &jetstream.RePublish{Source: "broadcast.p.>", Destination: "broadcast.r.>"}
	for what, change := range map[string]func(c *jetstream.StreamConfig){
		"other subjects":  func(c *jetstream.StreamConfig) { c.Subjects, c.RePublish = []string{"x.>"}, nil },
		"not republished": func(c *jetstream.StreamConfig) { c.RePublish = nil },
		"no direct gets":  func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"an age":          func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"a size":          func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 },
		"a number":        func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		"a queue":         func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
	} {
		c := jetstream.StreamConfig{
			Name: "broadcast", Subjects: []string{"broadcast.p.>"}, RePublish: republish, AllowDirect: true,
		}
		change(&c)
		_, err := js.CreateStream(t.Context(), c)
		require.NoError(t, err)
		_, err = newEngine(t, broadcastnats.Options{URL: s.ClientURL()}).Open(t.Context(), new(sink))
		require.ErrorContains(t, err, "used for something else", what)
		require.NoError(t, js.DeleteStream(t.Context(), "broadcast"))
	}
}

func TestTheStreamKeepsTheMostThatANodeWants(t *testing.T) {
	s := startServer(t, options(t))
	js := admin(t, s.ClientURL())
	begin := time.Now()
	want := int64(0)
	for _, records := range []int{5, 3, 20} {
		want = max(want, int64(records))
		open(t, broadcastnats.Options{URL: s.ClientURL(), Records: records})
		stream, err := js.Stream(t.Context(), "broadcast")
		require.NoError(t, err)
		require.Equal(t, want, stream.CachedInfo().Config.MaxMsgsPerSubject)
		require.GreaterOrEqual(t, stream.CachedInfo().State.FirstSeq, uint64(begin.UnixMicro()))
	}
}

func TestRecordsThatAreTooLargeAreRefused(t *testing.T) {
	o := options(t)
	o.MaxPayload = 10_000
	s := startServer(t, o)
	session, _ := open(t, broadcastnats.Options{URL: s.ClientURL()})
	large := [][]byte{make([]byte, 10_000)}
	_, err := enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, large, "1")
	require.ErrorIs(t, err, engine.ErrRefused, "by the client")

	js := admin(t, s.ClientURL())
	stream, err := js.Stream(t.Context(), "broadcast")
	require.NoError(t, err)
	c := stream.CachedInfo().Config
	c.MaxMsgSize = 1000
	_, err = js.UpdateStream(t.Context(), c)
	require.NoError(t, err)
	large[0] = large[0][:2000]
	_, err = enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, large, "1")
	require.ErrorIs(t, err, engine.ErrRefused, "by the server")
	_, err = enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, nil, "1")
	require.NoError(t, err)
}

func TestWithoutAStreamTheEngineIsAway(t *testing.T) {
	o := options(t)
	o.JetStream = false
	s := startServer(t, o)
	told := new(sink)
	session, err := newEngine(t, broadcastnats.Options{URL: s.ClientURL()}).Open(t.Context(), told)
	require.NoError(t, err)
	defer session.Close(context.Background())
	_, err = enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, nil, "1")
	require.ErrorIs(t, err, engine.ErrAway)
	_, err = session.Heads(t.Context(), "c")
	require.ErrorIs(t, err, engine.ErrAway)
	require.ErrorIs(t, session.Follow(t.Context(), "c"), engine.ErrAway)
	require.NoError(t, s.EnableJetStream(&server.JetStreamConfig{StoreDir: t.TempDir()}))
	eventually(t, "up", func() bool { return get(told, func() bool { return told.up }) })
	require.NoError(t, session.Follow(t.Context(), "c"))
	_, err = enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, nil, "1")
	require.NoError(t, err)
	eventually(t, "a record", func() bool { return get(told, func() int { return len(told.records) }) == 1 })
}

func TestWhatOthersStoreBeginsTheOldestEpoch(t *testing.T) {
	s := startServer(t, options(t))
	session, told := open(t, broadcastnats.Options{URL: s.ClientURL()})
	require.NoError(t, session.Follow(t.Context(), "c"))
	r, err := enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 9}, nil, "1")
	require.NoError(t, err)
	js := admin(t, s.ClientURL())
	stream, err := js.Stream(t.Context(), "broadcast")
	require.NoError(t, err)
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	require.NoError(t, err)
	for subject := range info.State.Subjects {
		_, err = js.Publish(t.Context(), subject, []byte("hello"))
		require.NoError(t, err)
	}
	want := engine.Place{Epoch: 1, Mark: r.Mark + 1}
	heads, err := session.Heads(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, []engine.Place{want}, placesOf(heads))
	eventually(t, "a record", func() bool { return get(told, func() int { return len(told.records) }) == 2 })
	require.Equal(t, engine.Record{Place: want}, told.records[1])
	_, err = enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 10, Mark: want.Mark}, nil, "2")
	require.NoError(t, err, "the next epoch")
}

// A message that somebody has copied out of the stream, and then into it, still has headers of the
// server, and gets them once more.
func TestHeadersOfACopiedMessageMeanNothing(t *testing.T) {
	s := startServer(t, options(t))
	o := broadcastnats.Options{URL: s.ClientURL()}
	session, told := open(t, o)
	require.NoError(t, session.Follow(t.Context(), "c"))
	first, err := enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, nil, "1")
	require.NoError(t, err)
	js := admin(t, s.ClientURL())
	stream, err := js.Stream(t.Context(), "broadcast")
	require.NoError(t, err)
	stored, err := stream.GetMsg(t.Context(), first.Mark)
	require.NoError(t, err)
	c := nats.NewMsg(stored.Subject)
	for key, value := range map[string]string{
		"Nats-Sequence": "9000000000000000000", "Nats-Last-Sequence": "8000000000000000000",
		"Nats-Subject": "x", "Nats-Num-Pending": "7", "Status": "503",
	} {
		c.Header.Set(key, value)
	}
	_, err = js.PublishMsg(t.Context(), c)
	require.NoError(t, err)
	want := engine.Record{Place: engine.Place{Epoch: 1, Mark: first.Mark + 1}}
	heads, err := session.Heads(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, []engine.Place{want.Place}, placesOf(heads))
	records, err := session.Read(t.Context(), "c", first, 10)
	require.NoError(t, err)
	require.Equal(t, []engine.Record{want}, records)
	eventually(t, "two records", func() bool { return get(told, func() int { return len(told.records) }) == 2 })
	require.Equal(t, want, told.records[1])
	_, err = enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 2, Mark: want.Mark}, nil, "2")
	require.NoError(t, err)
	open(t, o)
	records, err = session.Read(t.Context(), "c", engine.Place{}, 10)
	require.NoError(t, err)
	require.Len(t, records, 3, "nobody has removed them")
}

// Anybody who may send something to the nodes may make up a record.
func TestAMarkThatNoStreamCanHaveReachedRemovesNothing(t *testing.T) {
	s := startServer(t, options(t))
	session, told := open(t, broadcastnats.Options{URL: s.ClientURL()})
	require.NoError(t, session.Follow(t.Context(), "c"))
	first, err := enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, nil, "1")
	require.NoError(t, err)
	conn := admin(t, s.ClientURL()).Conn()
	forged := nats.NewMsg(strings.Replace(subjectOf(t, s, first.Mark), ".p.", ".r.", 1))
	forged.Header.Set("Nats-Sequence", fmt.Sprint(uint64(1<<62-1)))
	require.NoError(t, conn.PublishMsg(forged))
	eventually(t, "two records", func() bool { return get(told, func() int { return len(told.records) }) == 2 })
	ups := get(told, func() int { return told.ups })
	require.NoError(t, conn.Publish("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.broadcast", nil))
	eventually(t, "a look", func() bool { return get(told, func() int { return told.ups }) > ups })
	records, err := session.Read(t.Context(), "c", engine.Place{}, 10)
	require.NoError(t, err)
	require.Len(t, records, 1)
}

// placesOf returns the places of records.
func placesOf(records []engine.Record) (places []engine.Place) {
	for _, r := range records {
		places = append(places, r.Place)
	}
	return places
}

// The newest records of many chats may be more than the server sends in one answer.
func TestHeadsOfLargeRecordsComeInSeveralAnswers(t *testing.T) {
	s := startServer(t, options(t))
	session, _ := open(t, broadcastnats.Options{URL: s.ClientURL()})
	large := [][]byte{[]byte(strings.Repeat("x", 500_000))}
	var names []string
	var want []engine.Place
	for i := range 40 {
		names = append(names, fmt.Sprint("chat", i))
		place, err := enginetest.Append(t.Context(), session, names[i], engine.Place{Epoch: 1}, large, "1")
		require.NoError(t, err)
		want = append(want, place)
	}
	heads, err := session.Heads(t.Context(), names...)
	require.NoError(t, err)
	require.Equal(t, want, placesOf(heads))
}

func TestWhatTheServerHasNoRoomForIsNotStored(t *testing.T) {
	o := options(t)
	o.StreamMaxBufferedMsgs = 1
	s := startServer(t, o)
	session, _ := open(t, broadcastnats.Options{URL: s.ClientURL()})
	names := make([]string, 500)
	errs := make([]error, len(names))
	var calls sync.WaitGroup
	for i := range names {
		names[i] = fmt.Sprint("chat", i)
		calls.Go(func() {
			_, errs[i] = enginetest.Append(t.Context(), session, names[i], engine.Place{Epoch: 1}, nil, "1")
		})
	}
	calls.Wait()
	heads, err := session.Heads(t.Context(), names...)
	require.NoError(t, err)
	refused := 0
	for i, err := range errs {
		if err != nil {
			refused++
			require.ErrorIs(t, err, engine.ErrAway)
		}
		require.Equal(t, err == nil, heads[i].Mark > 0, names[i])
	}
	require.Positive(t, refused)
}

func TestAChatHasOneSubscriptionHoweverOftenItIsFollowed(t *testing.T) {
	s := startServer(t, options(t))
	session, told := open(t, broadcastnats.Options{URL: s.ClientURL()})
	subscriptions := func() uint32 {
		connections, err := s.Connz(nil)
		require.NoError(t, err)
		return connections.Conns[0].NumSubs
	}
	before := subscriptions()
	for round := range 20 {
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() { assert.NoError(t, session.Follow(t.Context(), "c")) })
		}
		calls.Wait()
		require.Equal(t, before+1, subscriptions())
		require.NoError(t, session.Send("c", nil))
		eventually(t, "what was sent", func() bool { return get(told, func() int { return told.sent }) > round })
		session.Unfollow("c")
		_, err := session.Heads(t.Context(), "c") // the server has got everything before
		require.NoError(t, err)
		require.Equal(t, before, subscriptions())
		require.Equal(t, round+1, get(told, func() int { return told.sent }))
	}
}

// The client cannot read the headers of such an answer, not even those of the server.
func TestAMessageWithMalformedHeadersIsARecordLikeOthers(t *testing.T) {
	s := startServer(t, options(t))
	session, told := open(t, broadcastnats.Options{URL: s.ClientURL()})
	var names []string
	var places []engine.Place
	for i := range 9 {
		names = append(names, fmt.Sprint("chat", i))
		place, err := enginetest.Append(t.Context(), session, names[i], engine.Place{Epoch: 1}, nil, "1")
		require.NoError(t, err)
		places = append(places, place)
	}
	const bad = 3
	storeMalformed(t, s, subjectOf(t, s, places[bad].Mark))
	want := engine.Place{Epoch: 1, Mark: places[8].Mark + 1}

	heads, err := session.Heads(t.Context(), names...)
	require.NoError(t, err)
	require.Equal(t, append(append(places[:bad:bad], want), places[bad+1:]...), placesOf(heads))

	after := want
	for range 3 {
		after.Epoch++
		after, err = enginetest.Append(t.Context(), session, names[bad], after, nil, "2")
		require.NoError(t, err)
	}
	var marks []uint64
	for at := (engine.Place{}); at.Mark != after.Mark; {
		records, err := session.Read(t.Context(), names[bad], at, 100)
		require.NoError(t, err)
		require.NotEmpty(t, records)
		for _, r := range records {
			marks, at = append(marks, r.Mark), r.Place
		}
	}
	require.Equal(t, []uint64{
		places[bad].Mark, want.Mark, want.Mark + 1, want.Mark + 2, want.Mark + 3,
	}, marks)

	// A node is not handed the message as a record. The next one shows that it is missing.
	require.NoError(t, session.Follow(t.Context(), names[0]))
	storeMalformed(t, s, subjectOf(t, s, places[0].Mark))
	heads, err = session.Heads(t.Context(), names[0])
	require.NoError(t, err)
	_, err = enginetest.Append(t.Context(), session, names[0], heads[0].Place, nil, "3")
	require.NoError(t, err)
	eventually(t, "the next record", func() bool {
		return get(told, func() int { return len(told.records) }) == 1
	})
	require.Equal(t, heads[0].Mark, told.records[0].Prev)
}

// subjectOf returns the subject of a stored message.
func subjectOf(t *testing.T, s *server.Server, mark uint64) string {
	stream, err := admin(t, s.ClientURL()).Stream(t.Context(), "broadcast")
	require.NoError(t, err)
	stored, err := stream.GetMsg(t.Context(), mark)
	require.NoError(t, err)
	return stored.Subject
}

// storeMalformed stores a message with headers that are none, which the client refuses to send.
func storeMalformed(t *testing.T, s *server.Server, subject string) {
	conn, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	const headers = "NATS/1.0\r\nnothing\r\n\r\n"
	_, err = fmt.Fprintf(
		conn, "CONNECT {\"headers\":true,\"verbose\":false}\r\nSUB stored 1\r\nHPUB %s stored %d %d\r\n%sx\r\n",
		subject, len(headers), len(headers)+1, headers,
	)
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	for line := ""; !strings.HasPrefix(line, "MSG stored"); {
		line, err = answers.ReadString('\n')
		require.NoError(t, err)
	}
}
