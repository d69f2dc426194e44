package main

import (
	"slices"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
	"github.com/fbd86cad/broadcast/benchmarks/sockets"
)

// socketProgram is the server that all workloads of sockets start; main removes it.
var socketProgram sockets.Program

const (
	cpuPerDelivery      = "CPU ns/delivery"
	deliveriesPerSecond = "deliveries/s"
	msLastClient        = "ms to the last client"
	msLastClientP99     = "ms, p99"
	writesPerDelivery   = "writes/delivery"
	residentPerClient   = "resident kB/connection"
	heapPerStuckClient  = "heap kB/client that never reads"
)

// socketServer is a server under test.
type socketServer struct {
	name    string
	kind    peers.Kind
	framing sockets.Framing
	how     string
	hello   []byte // what a client says first
	blocks  bool   // a client that never reads stops it
	secure  bool   // its clients are over TLS; only its memory is measured
	paced   bool   // it gathers messages; it is measured only where they come steadily
	bursts  bool   // it knows where a burst ends; it is measured only with bursts
}

// socketServers are all of them, ours first among those of a framing.
func socketServers() []socketServer {
	return []socketServer{
		{name: "broadcastws", kind: peers.Ours, how: "this library with broadcastws and the defaults " +
			"of both"},
		{
			name: "broadcastws-tls", kind: peers.Ours, how: "broadcastws with clients over TLS",
			secure: true,
		},
		{name: "broadcastws-paced", kind: peers.Ours, how: "broadcastws with a Pace of " +
			"20 ms", paced: true},
		{name: "messenger-2026-11", kind: peers.Ours, how: "this library in the handler that " +
			"examples/messenger had before broadcastws"},
		{name: "gorilla-hub", kind: peers.Pattern, how: "gorilla/websocket with the hub of its chat " +
			"example, one frame a message"},
		{
			name: "gorilla-hub-tls", kind: peers.Pattern, how: "gorilla-hub with clients over TLS",
			secure: true,
		},
		{name: "gorilla-lines", kind: peers.Pattern, how: "the hub, but messages that wait for a " +
			"client are joined by newlines in one frame, as in the example itself"},
		{name: "gorilla-prepared", kind: peers.Pattern, how: "the hub with prepared messages; all " +
			"frames that wait for a client are one write"},
		{name: "gorilla-batches", kind: peers.Pattern, how: "the same, but the hub hands over " +
			"batches of messages"},
		{
			name: "bare-writes", kind: peers.Floor, how: "two loops that write each burst to all " +
				"connections when it is complete: what the kernel takes", blocks: true, bursts: true,
		},
		{name: "centrifuge", kind: peers.Library, how: "centrifuge with its JSON protocol, its memory " +
			"engine, and frames of any number of messages", hello: centrifugeHello()},
		{name: "gws", kind: peers.Library, how: "lxzan/gws with its Broadcaster"},
		{name: "melody", kind: peers.Library, how: "olahol/melody with its defaults"},

		{name: "broadcastsse", kind: peers.Ours, framing: sockets.EventStream, how: "this library with " +
			"broadcastsse and the defaults of both"},
		{
			name: "broadcastsse-hijacked", kind: peers.Ours, framing: sockets.EventStream,
			how: "the same, but on connections taken over from net/http",
		},
		{name: "sse-2026-11", kind: peers.Ours, framing: sockets.EventStream, how: "this library in " +
			"the handler that examples/sse had before broadcastsse"},
		{name: "sse-usual", kind: peers.Pattern, framing: sockets.EventStream, how: "the hub, and for " +
			"each message a Fprintf and a Flush"},
		{name: "go-sse", kind: peers.Library, framing: sockets.EventStream, how: "tmaxmax/go-sse with " +
			"its provider Joe, which stops for a client that does not read", blocks: true},
	}
}

// centrifugeHello is a frame that says that a client connects. Its mask is zero.
func centrifugeHello() []byte {
	const connect = `{"id":1,"connect":{}}`
	return append([]byte{0x81, 0x80 | byte(len(connect)), 0, 0, 0, 0}, connect...)
}

// burstSize is how many messages a burst has.
const burstSize = 64

// socketCase is the one case of most workloads of sockets.
const socketCase = "clients=1000"

const (
	socketWork = "The server is a process of its own, whose processor time is measured. The " +
		"clients are in this process, read with epoll by one goroutine, and check that each " +
		"message comes once and in order. A message is JSON of 150 bytes. "
	socketNotShown = "TLS, compression, a network, more than one chat; and the clients use the " +
		"same processors, so processor time says more than the other times. Writes are the system " +
		"calls that write, as the kernel counts them for the process."
)

func socketWorkloads() []*Workload {
	const ws, sse = sockets.WebSocket, sockets.EventStream
	return []*Workload{
		socketBursts("ws-bursts", "Bursts of 64 messages to WebSockets", ws, webSocketBurstTargets()),
		socketSingles("ws-singles", "Single messages to WebSockets", ws, webSocketSingleTargets()),
		socketSteady(),
		socketMemories("ws-memory", "Memory of WebSockets", ws, webSocketMemoryTargets()),
		socketBursts("sse-bursts", "Bursts of 64 messages to event streams", sse, eventStreamTargets()),
		socketSingles("sse-singles", "Single messages to event streams", sse, nil),
		socketMemories("sse-memory", "Memory of event streams", sse, nil),
	}
}

func socketBursts(name, title string, framing sockets.Framing, targets []Target) *Workload {
	w := &Workload{
		Name: name, Title: title, Targets: targets, NotShown: socketNotShown,
		Work: socketWork + "64 of them are published back to back, and the next 64 when the last of " +
			"1 000 clients in one chat has them all. The times are those until the last client has all.",
	}
	return socketRoundsWorkload(w, framing, burstSize)
}

func socketSingles(name, title string, framing sockets.Framing, targets []Target) *Workload {
	w := &Workload{
		Name: name, Title: title, Targets: targets, NotShown: socketNotShown,
		Work: socketWork + "One is published when the last of 1 000 clients in one chat has the one " +
			"before. Everybody pays a write for each client, which is most of the time.",
	}
	return socketRoundsWorkload(w, framing, 1)
}

func socketRoundsWorkload(w *Workload, framing sockets.Framing, burst int) *Workload {
	for _, name := range []string{
		cpuPerDelivery, deliveriesPerSecond, msLastClient, msLastClientP99, writesPerDelivery,
	} {
		w.Metrics = append(w.Metrics, Metric{name})
	}
	special := func(s socketServer) bool { return s.secure || s.paced || s.bursts && burst == 1 }
	servers := slices.DeleteFunc(socketServers(), special)
	return socketWorkload(w, framing, servers, func(s socketServer, plan Plan) (Sample, error) {
		return socketRounds(s, plan, burst)
	})
}

func socketMemories(name, title string, framing sockets.Framing, targets []Target) *Workload {
	w := &Workload{
		Name: name, Title: title, Targets: targets,
		Work: "The resident memory of the server with 1 000 clients that have received a burst and are " +
			"idle, without that with one client, by client. And, in a server with 10 clients that read " +
			"and 200 that never do, by how much the heap grows for each of the latter in 48 bursts of " +
			"64 messages of 150 bytes. The kernel's send buffers are limited to 64 KiB for everybody, " +
			"and are full by then. Garbage is collected before each figure is taken.",
		NotShown: "the kernel's memory, and what becomes of clients that never read: most servers " +
			"cut them off some seconds later.",
		Metrics: []Metric{{residentPerClient}, {heapPerStuckClient}},
	}
	special := func(s socketServer) bool { return s.paced || s.bursts }
	return socketWorkload(w, framing, slices.DeleteFunc(socketServers(), special), socketMemory)
}

// steadyClients are fewer than elsewhere, so that every server keeps up.
const (
	steadyClients  = 200
	steadyInterval = 5 * time.Millisecond
)

func socketSteady() *Workload {
	w := &Workload{
		Name: "ws-steady", Title: "A steady stream of messages to WebSockets",
		Work: socketWork + "200 messages a second are published at even intervals to 200 clients.",
		NotShown: socketNotShown + " Nor how much later messages arrive if they are gathered for " +
			"20 ms: 10 ms on average.",
		Metrics: []Metric{{cpuPerDelivery}, {writesPerDelivery}},
	}
	special := func(s socketServer) bool { return s.secure || s.bursts }
	servers := slices.DeleteFunc(socketServers(), special)
	w = socketWorkload(w, sockets.WebSocket, servers, socketStream)
	w.Cases[0].Name = "clients=200/interval=5ms"
	return w
}

func socketStream(s socketServer, plan Plan) (Sample, error) {
	turn, err := s.begin(min(steadyClients, socketClients(plan)), 0)
	if err != nil {
		return nil, err
	}
	defer turn.End()
	used, deliveries, err := turn.Steady(int(2*plan.Cap/steadyInterval)+1, steadyInterval)
	return Sample{
		cpuPerDelivery:    float64(used.CPU) / deliveries,
		writesPerDelivery: float64(used.Writes) / deliveries,
	}, err
}

// socketWorkload gives a workload its case.
func socketWorkload(
	w *Workload, framing sockets.Framing, servers []socketServer,
	run func(socketServer, Plan) (Sample, error),
) *Workload {
	skip := ""
	if !sockets.Supported {
		skip = "the clients need Linux"
	}
	c := Case{Name: socketCase, Heavy: true, Large: true}
	for _, s := range servers {
		if s.framing != framing {
			continue
		}
		c.Contestants = append(c.Contestants, Contestant{
			Name: s.name, Kind: s.kind, How: s.how, Skip: skip,
			Run: func(plan Plan) (Sample, error) { return run(s, plan) },
		})
	}
	w.Cases = []Case{c}
	return w
}

// socketClients is how many clients there are.
func socketClients(plan Plan) int {
	if plan.Short {
		return 50
	}
	return 1_000
}

func (s socketServer) begin(clients, sendBuffer int) (*sockets.Turn, error) {
	return sockets.Begin(&socketProgram, sockets.Settings{
		Name: strings.TrimSuffix(s.name, "-tls"), Framing: s.framing, Hello: s.hello,
		SendBuffer: sendBuffer, TLS: s.secure,
	}, clients)
}

func socketRounds(s socketServer, plan Plan, burst int) (Sample, error) {
	turn, err := s.begin(socketClients(plan), 0)
	if err != nil {
		return nil, err
	}
	defer turn.End()
	least := 20
	if plan.Short {
		least = 2
	}
	r, err := turn.Repeat(burst, least, 2*plan.Cap)
	if err != nil {
		return nil, err
	}
	return Sample{
		cpuPerDelivery:      float64(r.Used.CPU) / r.Deliveries,
		deliveriesPerSecond: r.Deliveries / r.Took.Seconds(),
		msLastClient:        millis(quantile(r.Latencies, 0.5)),
		msLastClientP99:     millis(quantile(r.Latencies, 0.99)),
		writesPerDelivery:   float64(r.Used.Writes) / r.Deliveries,
	}, nil
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// Clients that never read are given more than the kernel's buffers and the queue of any server
// hold: 48 bursts are 0.46 MB.
const (
	stuckSendBuffer = 64 << 10
	stuckBursts     = 48
	stuckReaders    = 10
)

func socketMemory(s socketServer, plan Plan) (Sample, error) {
	resident, err := socketResident(s, socketClients(plan))
	if err != nil {
		return nil, err
	}
	sample := Sample{residentPerClient: resident / 1e3}
	if s.blocks {
		return sample, nil
	}
	heap, kept, err := socketStuck(s, socketClients(plan)/5)
	if kept { // otherwise it says nothing
		sample[heapPerStuckClient] = heap / 1e3
	}
	return sample, err
}

// socketResident returns how much memory a connection that has received a burst and is idle takes.
func socketResident(s socketServer, clients int) (bytes float64, err error) {
	turn, err := s.begin(1, 0)
	if err != nil {
		return 0, err
	}
	defer turn.End()
	before, err := turn.Tidied()
	if err != nil {
		return 0, err
	}
	if s.secure {
		err = turn.Secure(clients, true)
	} else {
		err = turn.More(clients)
	}
	if err != nil {
		return 0, err
	}
	if _, err := turn.Round(burstSize); err != nil {
		return 0, err
	}
	time.Sleep(200 * time.Millisecond) // until all writers wait again
	after, err := turn.Tidied()
	return float64(after.Resident-before.Resident) / float64(clients), err
}

// socketStuck returns how much a client that never reads adds to the heap, and whether the server
// has kept all of them meanwhile.
func socketStuck(s socketServer, clients int) (bytes float64, kept bool, err error) {
	turn, err := s.begin(stuckReaders, stuckSendBuffer)
	if err != nil {
		return 0, false, err
	}
	defer turn.End()
	if s.secure {
		err = turn.Secure(clients, false)
	} else {
		err = turn.Stick(clients)
	}
	if err != nil {
		return 0, false, err
	}
	time.Sleep(200 * time.Millisecond) // until all are subscribed
	if _, err := turn.Round(1); err != nil {
		return 0, false, err
	}
	before, err := turn.Tidied()
	if err != nil {
		return 0, false, err
	}
	for range stuckBursts {
		if _, err := turn.Round(burstSize); err != nil {
			return 0, false, err
		}
	}
	after, err := turn.Tidied()
	kept = after.Open == before.Open
	return float64(after.Heap-before.Heap) / float64(clients), kept, err
}
