package cluster_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// room is a log with devices.
type room struct {
	*core
	elsewhere map[string]bool   // as it was told
	own       map[string]uint64 // tickets
	arrived   map[string]time.Time
	kicks     []string // that were carried out
	ends      []string // devices that do not come back
}

func newRoom(node, chat string) *room {
	return &room{
		core:      newCore(node, chat, rand.New(rand.NewPCG(1, 1)), 0),
		elsewhere: make(map[string]bool),
		own:       make(map[string]uint64),
		arrived:   make(map[string]time.Time),
	}
}

func (r *room) join(n *cluster.Node) *room {
	f := n.Join(r.chat, r, false)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feed = f
	return r
}

func (r *room) Here(device string) {
	defer r.enter(true)()
	if r.elsewhere[device] {
		r.fault = fmt.Errorf("%s is here twice", device)
	}
	r.elsewhere[device] = true
}

func (r *room) Gone(device string) {
	defer r.enter(true)()
	if !r.elsewhere[device] {
		r.fault = fmt.Errorf("%s is gone, but was not here", device)
	}
	delete(r.elsewhere, device)
}

func (r *room) Replaced(device string, ticket uint64) {
	defer r.enter(true)()
	if r.own[device] == ticket {
		r.departLocked(device)
	}
}

func (r *room) Kicked(device string, ticket uint64, reason string) {
	defer r.enter(true)()
	switch {
	case r.own[device] != ticket:
	case ticket == 0:
		r.ends = append(r.ends, device)
	default:
		r.kicks = append(r.kicks, device+": "+reason)
		delete(r.own, device)
		r.feed.Depart(device, true)
	}
}

func (r *room) kick(device, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feed.Kick(device, reason)
}

// requireKicks requires that these kicks were carried out here, and none before.
func requireKicks(t *testing.T, r *room, kicks ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, kicks, r.kicks)
	require.NoError(t, r.fault)
	r.kicks = nil
}

func (r *room) arrive(device string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own[device], r.arrived[device] = r.feed.Arrive(device), time.Now()
}

func (r *room) depart(device string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own[device] != 0 {
		r.departLocked(device)
	}
}

func (r *room) departLocked(device string) {
	delete(r.own, device)
	r.feed.Depart(device, false)
}

// devices returns the devices of this node and of the others.
func (r *room) devices() (own, elsewhere []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.own)), slices.Sorted(maps.Keys(r.elsewhere))
}

// rooms joins a room on each node, and waits until all have met.
func (s *system) rooms() (rooms []*room) {
	for i, n := range s.nodes {
		rooms = append(rooms, newRoom(fmt.Sprint(i), "c").join(n))
	}
	time.Sleep(2 * time.Second)
	return rooms
}

// requireElsewhere requires that a room knows these devices of other nodes.
func requireElsewhere(t *testing.T, r *room, devices ...string) {
	t.Helper()
	_, elsewhere := r.devices()
	require.ElementsMatch(t, devices, elsewhere)
	require.NoError(t, r.fault)
}

func TestDevicesOfOtherNodesComeAndGo(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[0].arrive("a")
		rooms[0].arrive("b")
		time.Sleep(soon)
		requireElsewhere(t, rooms[0])
		requireElsewhere(t, rooms[1], "a", "b")
		requireElsewhere(t, rooms[2], "a", "b")
		rooms[0].depart("a")
		time.Sleep(soon)
		requireElsewhere(t, rooms[1], "b")
		require.Equal(t, 2, s.nodes[0].Stats().Peers)

		s.start(patient)
		late := newRoom("3", "c").join(s.nodes[3])
		time.Sleep(soon)
		requireElsewhere(t, late, "b")
	})
}

func TestTheDevicesOfANodeThatDiesLeaveWithinSixSeconds(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[0].arrive("a")
		time.Sleep(10 * time.Second)
		requireElsewhere(t, rooms[1], "a")
		s.clients[0].Cut()
		time.Sleep(4 * time.Second)
		requireElsewhere(t, rooms[1], "a")
		time.Sleep(2*time.Second + soon)
		requireElsewhere(t, rooms[1])
		s.clients[0].Restore()
		time.Sleep(soon)
		requireElsewhere(t, rooms[1], "a")
	})
}

func TestTheDevicesOfANodeThatClosesLeaveAtOnce(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[0].arrive("a")
		time.Sleep(soon)
		s.nodes[0].Close(t.Context())
		time.Sleep(soon)
		requireElsewhere(t, rooms[1])
		s.nodes = s.nodes[1:]
	})
}

func TestANodeThatIsCutOffKeepsWhatItKnows(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[0].arrive("a")
		time.Sleep(soon)
		s.clients[1].Cut()
		time.Sleep(time.Minute)
		requireElsewhere(t, rooms[1], "a")
		rooms[0].arrive("b")
		s.clients[1].Restore()
		time.Sleep(soon)
		requireElsewhere(t, rooms[1], "a", "b")
	})
}

func TestTheNewestSubscriptionOfADeviceReplacesThoseOnOtherNodes(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		for i, r := range rooms {
			r.arrive("a")
			time.Sleep(soon)
			for j, other := range rooms {
				own, elsewhere := other.devices()
				require.Equal(t, i == j, len(own) == 1)
				require.Equal(t, i != j, len(elsewhere) == 1)
			}
		}
		s.clients[0].Cut()
		time.Sleep(soon)
		rooms[0].arrive("a")
		time.Sleep(soon)
		rooms[1].arrive("a") // newer
		s.clients[0].Restore()
		time.Sleep(soon)
		own, elsewhere := rooms[1].devices()
		require.Equal(t, []string{"a"}, own)
		require.Empty(t, elsewhere)
		requireElsewhere(t, rooms[0], "a")
	})
}

func TestAChangeThatIsLostIsFound(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		s.engine.SetFaults(memengine.Faults{Drop: 1})
		rooms[0].arrive("a")
		time.Sleep(soon)
		s.engine.SetFaults(memengine.Faults{})
		requireElsewhere(t, rooms[1])
		time.Sleep(time.Second)
		requireElsewhere(t, rooms[1], "a")

		s.engine.SetFaults(memengine.Faults{Drop: 1})
		rooms[0].arrive("b")
		time.Sleep(3 * time.Second) // the repetition is lost too
		s.engine.SetFaults(memengine.Faults{})
		requireElsewhere(t, rooms[1], "a")
		time.Sleep(31 * time.Second)
		requireElsewhere(t, rooms[1], "a", "b")
	})
}

// After a note that is lost, the state is sent once, however many changes follow before it arrives.
func TestALostNoteCostsOneState(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms, n := s.rooms(), s.notes()
		s.engine.SetFaults(memengine.Faults{Drop: 1})
		rooms[0].arrive("lost")
		time.Sleep(soon)
		s.engine.SetFaults(memengine.Faults{})
		want := []string{"lost"}
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
			rooms[0].arrive(want[i+1])
		}
		time.Sleep(soon)
		requireElsewhere(t, rooms[1], want...)
		n.mu.Lock()
		defer n.mu.Unlock()
		require.Equal(t, 1, n.states)
	})
}

// The last news of a feed, which nobody repeats, may be lost. The next feed corrects it.
func TestANodeThatJoinsAgainHasNoDevicesYet(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[0].arrive("ann")
		time.Sleep(soon)
		requireElsewhere(t, rooms[1], "ann")
		s.engine.SetFaults(memengine.Faults{Drop: 1})
		rooms[0].leave()
		time.Sleep(soon)
		s.engine.SetFaults(memengine.Faults{})
		requireElsewhere(t, rooms[1], "ann")
		again := newRoom("0", "c").join(s.nodes[0])
		time.Sleep(soon)
		requireElsewhere(t, rooms[1])
		again.arrive("ann")
		time.Sleep(soon)
		requireElsewhere(t, rooms[1], "ann")
	})
}

func TestANodeThatWasSilentIsAskedForItsDevices(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[0].arrive("a")
		time.Sleep(soon)
		s.engine.SetFaults(memengine.Faults{Drop: 1})
		time.Sleep(7 * time.Second)
		requireElsewhere(t, rooms[1])
		s.engine.SetFaults(memengine.Faults{})
		time.Sleep(2 * time.Second)
		requireElsewhere(t, rooms[1], "a")
	})
}

func TestALogWithoutRoomIsToldOfDevices(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[1].setStuck(true)
		s.publish(0, "1")
		rooms[0].arrive("a")
		time.Sleep(soon)
		requireElsewhere(t, rooms[1], "a")
	})
}

func TestALogThatTakesOverIsToldOfDevices(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[0].arrive("a")
		rooms[1].arrive("b")
		time.Sleep(soon)
		next := newRoom("1", "c").join(s.nodes[1])
		time.Sleep(soon)
		requireElsewhere(t, next, "a")
		requireElsewhere(t, rooms[0])
		next.arrive("c")
		time.Sleep(soon)
		requireElsewhere(t, rooms[0], "c")
		next.leave()
		time.Sleep(soon)
		requireElsewhere(t, rooms[0])
	})
}

func TestAKickEndsTheSubscriptionOfItsTicketOnOtherNodes(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[1].arrive("a")
		rooms[1].arrive("b")
		time.Sleep(soon)
		rooms[0].kick("a", "spam")
		rooms[0].kick("nobody", "")
		time.Sleep(soon)
		requireKicks(t, rooms[1], "a: spam")
		for _, r := range []*room{rooms[0], rooms[2]} {
			requireElsewhere(t, r, "b")
			requireKicks(t, r)
			require.Equal(t, []string{"a"}, r.ends)
		}
		rooms[1].arrive("a")
		time.Sleep(time.Minute) // nobody repeats the kick
		requireKicks(t, rooms[1])
		requireElsewhere(t, rooms[0], "a", "b")
	})
}

func TestAKickDoesNotEndANewerSubscription(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[1].arrive("a")
		time.Sleep(soon)
		rooms[1].arrive("a")
		rooms[0].kick("a", "") // before it can know
		time.Sleep(time.Minute)
		requireKicks(t, rooms[1])
		rooms[2].arrive("a")
		rooms[0].kick("a", "") // the older one, which the newest replaces meanwhile
		time.Sleep(time.Minute)
		own, _ := rooms[1].devices()
		require.Empty(t, own)
		own, _ = rooms[2].devices()
		require.Equal(t, []string{"a"}, own)
		requireKicks(t, rooms[2])
	})
}

func TestAKickThatIsLostIsRepeated(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		rooms[1].arrive("a")
		rooms[1].arrive("b")
		time.Sleep(soon)
		s.engine.SetFaults(memengine.Faults{Drop: 1})
		rooms[0].kick("a", "1")
		time.Sleep(2500 * time.Millisecond)
		s.engine.SetFaults(memengine.Faults{})
		requireKicks(t, rooms[1])
		time.Sleep(time.Second)
		requireKicks(t, rooms[1], "a: 1")

		s.clients[0].Cut()
		time.Sleep(soon)
		rooms[0].kick("b", "2")
		time.Sleep(time.Minute + time.Second/2) // not when it would be repeated
		requireKicks(t, rooms[1])
		s.clients[0].Restore()
		time.Sleep(soon)
		requireKicks(t, rooms[1], "b: 2")
	})
}

// A node that does not understand kicks is not asked for ever. Nor does a feed that has ended ask.
func TestAKickIsRepeatedTenTimesAtMost(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		notes := s.notes()
		notes.arrive("a", 1)
		time.Sleep(soon)
		requireElsewhere(t, rooms[0], "a")
		rooms[0].kick("a", "")
		for range 60 {
			time.Sleep(time.Second)
			notes.beat()
		}
		require.Equal(t, 11, notes.kicks())
		rooms[0].kick("a", "")
		time.Sleep(soon)
		rooms[0].leave()
		for range 60 {
			time.Sleep(time.Second)
			notes.beat()
		}
		require.Equal(t, 1, notes.kicks())
	})
}

func TestNoMoreKicksAreSentOnceTheDeviceHasANewerTicket(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		rooms := s.rooms()
		notes := s.notes()
		notes.arrive("a", 1)
		time.Sleep(soon)
		rooms[0].kick("a", "")
		rooms[1].arrive("a")
		for range 5 {
			time.Sleep(time.Second)
			notes.beat()
		}
		require.Equal(t, 1, notes.kicks())
	})
}

// Whatever was lost, in the end no device is on two nodes, and each node knows all devices of the
// others.
func TestWhateverIsLostNodesAgreeOnDevices(t *testing.T) {
	seeds := []uint64{*seed}
	if *seed == 0 {
		seeds = seeds[:0]
		for range *runs {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			devicesComeAndGo(t, rand.New(rand.NewPCG(seed, 4)))
			if t.Failed() {
				t.Logf("run again with -seed=%d", seed)
			}
		})
	}
}

// place is a node with its room.
type place struct {
	client *memengine.Client
	node   *cluster.Node
	room   *room // nil while it has left
}

func devicesComeAndGo(t *testing.T, random *rand.Rand) {
	engine := memengine.New(random.Uint64(), time.Millisecond, 0)
	places := make([]*place, 3)
	n := 0
	start := func(i int) {
		client := engine.Client()
		places[i] = &place{client: client, node: cluster.Start(client, patient)}
		n++
		places[i].room = newRoom(fmt.Sprint(n), "c").join(places[i].node)
	}
	for i := range places {
		start(i)
	}
	for range 100 {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		i, device := random.IntN(len(places)), string(rune('a'+random.IntN(4)))
		p := places[i]
		switch op := random.IntN(22); {
		case op >= 20:
			if p.room != nil {
				p.room.kick(device, "")
			}
		case op < 7:
			if p.room != nil {
				p.room.arrive(device)
			}
		case op < 12:
			if p.room != nil {
				p.room.depart(device)
			}
		case op < 13:
			p.client.Cut()
		case op < 15:
			p.client.Restore()
		case op < 17:
			engine.SetFaults(randomFaults(random))
		case op < 18:
			time.Sleep(time.Duration(random.IntN(7000)) * time.Millisecond)
		case op < 19:
			if p.room == nil {
				n++
				p.room = newRoom(fmt.Sprint(n), "c").join(p.node)
			} else {
				p.room.leave()
				p.room = nil
			}
		default:
			if random.IntN(2) == 0 {
				p.client.Cut() // it dies without a word
			}
			p.node.Close(context.Background())
			start(i)
		}
	}
	engine.SetFaults(memengine.Faults{})
	for _, p := range places {
		p.client.Restore()
	}
	time.Sleep(2 * time.Minute)
	for i := range places {
		checkDevices(t, places, i)
	}
	for _, p := range places {
		p.node.Close(context.Background())
	}
	engine.Wait()
}

// checkDevices checks what the room at a place was told against the others.
func checkDevices(t *testing.T, places []*place, i int) {
	r := places[i].room
	if r == nil {
		return
	}
	own, elsewhere := r.devices()
	want := make(map[string]bool)
	for j, p := range places {
		if i == j || p.room == nil {
			continue
		}
		theirs, _ := p.room.devices()
		for _, device := range theirs {
			want[device] = true
			if slices.Contains(own, device) {
				t.Errorf("%s is on two nodes", device)
			}
		}
	}
	if r.fault != nil || !slices.Equal(slices.Sorted(maps.Keys(want)), elsewhere) {
		t.Errorf("room %s was told of %v instead of %v; %v", r.node, elsewhere, want, r.fault)
	}
}

// notes is a node of which others hear only what a test says, and which hears only kicks.
type notes struct {
	t       *testing.T
	session engine.Session
	mu      sync.Mutex
	heard   int // kicks
	states  int
}

// notes follows chat c.
func (s *system) notes() *notes {
	s.Helper()
	n := &notes{t: s.T}
	client := s.engine.Client()
	session, err := client.Open(s.Context(), n)
	require.NoError(s.T, err)
	s.Cleanup(func() { _ = session.Close(context.Background()) })
	n.session = session
	require.NoError(s.T, session.Follow(s.Context(), "c"))
	return n
}

func (n *notes) say(subject, note string) {
	n.t.Helper()
	require.NoError(n.t, n.session.Send(subject, []byte(note)))
}

func (n *notes) beat() {
	n.say("", `{"Kind": 0, "Node": "notes"}`)
	n.say("c", `{"Kind": 3, "Node": "notes", "Feed": 1, "Version": 1}`)
}

func (n *notes) arrive(device string, ticket int) {
	n.say("c", fmt.Sprintf(
		`{"Kind": 4, "Node": "notes", "Feed": 1, "Version": 1, "Devices": {%q: %d}}`, device, ticket))
}

// kicks returns how many kicks were heard since the last call.
func (n *notes) kicks() (heard int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	heard, n.heard = n.heard, 0
	return heard
}

func (n *notes) Sent(subject string, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if subject == "c" && strings.Contains(string(data), `"Kind":6`) {
		n.heard++
	}
	if subject == "c" && strings.Contains(string(data), `"Kind":4`) {
		n.states++
	}
}

func (n *notes) Stored(string, engine.Record) {}

func (n *notes) Up(bool) {}

func (n *notes) Failed(error) {}
