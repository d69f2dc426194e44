package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

func TestMain(m *testing.M) {
	if os.Getenv(asScreen) != "" {
		screenProcess()
		return
	}
	goleak.VerifyTestMain(m)
}

const within = exampletest.Within

// fake is a Chat that does as it is told and writes down what it was asked.
type fake struct {
	events chan client.Event

	mu    sync.Mutex
	room  string
	asked []string
	err   error // of everything, if set

	hold chan struct{} // if set, transfers tell half of their progress and wait for it or for their context
}

func newFake() *fake { return &fake{events: make(chan client.Event, 1000), room: "general"} }

func (f *fake) ask(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) was() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *fake) Events() <-chan client.Event { return f.events }

func (f *fake) Room() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.room
}

func (f *fake) Send(_ context.Context, text string) error { return f.ask("send %s", text) }

func (f *fake) Join(_ context.Context, room string) error {
	if err := f.ask("join %s", room); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room = room
	return nil
}

func (f *fake) Upload(ctx context.Context, path string, progress func(sent, total int64)) (client.File, error) {
	if err := f.ask("upload %s", path); err != nil {
		return client.File{}, err
	}
	return client.File{ID: "f1", Name: path}, f.transfer(ctx, progress)
}

func (f *fake) Download(ctx context.Context, id, path string, progress func(got, total int64)) error {
	if err := f.ask("download %s to %s", id, path); err != nil {
		return err
	}
	return f.transfer(ctx, progress)
}

func (f *fake) transfer(ctx context.Context, progress func(done, total int64)) error {
	progress(50, 100)
	if f.hold == nil {
		return nil
	}
	select {
	case <-f.hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// screen is a model with nothing beside it: what is started waits until the test has it done.
type screen struct {
	*model
	t       *testing.T
	chat    *fake
	waiting []order
	queued  []order
	quits   bool
}

// newScreen returns a screen of a size.
func newScreen(t *testing.T, width, height int) *screen {
	s := &screen{t: t, chat: newFake()}
	s.model = newModel(s.chat, "ann", s, func(msg tea.Msg) { s.update(msg) })
	s.update(tea.WindowSizeMsg{Width: width, Height: height})
	return s
}

func (s *screen) start(do order) context.CancelFunc {
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	s.waiting = append(s.waiting, func(context.Context) tea.Msg { return do(ctx) })
	return cancel
}

func (s *screen) queue(do order) bool {
	if len(s.queued) == maxQueued {
		return false
	}
	s.queued = append(s.queued, do)
	return true
}

// work does what waits.
func (s *screen) work() {
	todo := append(s.queued, s.waiting...)
	s.queued, s.waiting = nil, nil
	for _, do := range todo {
		s.update(do(context.Background()))
	}
}

func (s *screen) update(msg tea.Msg) {
	_, cmd := s.Update(msg)
	if cmd == nil {
		return
	}
	if _, ok := cmd().(tea.QuitMsg); ok {
		s.quits = true
	}
}

// happens shows events.
func (s *screen) happens(events ...client.Event) { s.update(eventsMsg(events)) }

// typed types a line, and enters it.
func (s *screen) typed(line string) {
	for _, r := range line {
		s.update(tea.KeyPressMsg{Text: string(r), Code: r})
	}
	s.press(tea.KeyEnter)
}

// keys types without entering.
func (s *screen) keys(text string) {
	for _, r := range text {
		s.update(tea.KeyPressMsg{Text: string(r), Code: r})
	}
}

// press presses a key that writes nothing.
func (s *screen) press(code rune, mod ...tea.KeyMod) {
	k := tea.KeyPressMsg{Code: code}
	for _, m := range mod {
		k.Mod |= m
	}
	s.update(k)
}

// shows is the screen without its looks.
func (s *screen) shows() string { return ansi.Strip(s.View().Content) }

// has wants texts to be on the screen.
func (s *screen) has(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		assert.Contains(s.t, s.shows(), text)
	}
}

// hasNot wants texts not to be on the screen.
func (s *screen) hasNot(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		assert.NotContains(s.t, s.shows(), text)
	}
}

// fits wants the screen to be within its size.
func (s *screen) fits() {
	s.t.Helper()
	lines := strings.Split(s.View().Content, "\n")
	assert.LessOrEqual(s.t, len(lines), max(1, s.height))
	for _, line := range lines {
		assert.LessOrEqual(s.t, ansi.StringWidth(line), s.width, "%q at %d×%d", line, s.width, s.height)
	}
}

// message is somebody's message in the room.
func message(name, text string) client.Event {
	return client.Event{Kind: client.Message, Room: "general", Name: name, Text: text, At: time.Now()}
}

// present is a Members event.
func present(names ...string) client.Event {
	return client.Event{Kind: client.Members, Room: "general", Members: names}
}

// state is a StateChanged event.
func state(s client.State) client.Event { return client.Event{Kind: client.StateChanged, State: s} }

var errAny = errors.New("any error")
