package tui

import (
	"context"
	"time"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// background runs what may take a while. What comes of it comes back to Update as a message.
type background interface {
	// start begins something at once; the function it returns cancels it.
	start(order) context.CancelFunc
	// queue has something done after all that was queued before; it is false if too much waits
	// already.
	queue(order) bool
}

// model is all that is on the screen. Only the event loop touches it.
type model struct {
	chat Chat
	work background
	send func(tea.Msg) // from other goroutines into Update

	name    string // own name, for the status line
	room    string
	members []string
	log     scrollback
	input   textinput.Model
	recall  recall

	state   client.State
	lost    string    // why there is no connection, as it was told; empty while there is one
	retryAt time.Time // of the next attempt, while state is Offline
	now     time.Time // of the last event or tick
	moving  *transfer // the file that is on its way, or nil
	files   []client.File

	width, height int
	styles        styles
}

// newModel returns the screen of a chat as it is before anything has happened.
func newModel(chat Chat, name string, work background, send func(tea.Msg)) *model {
	m := &model{
		chat: chat, work: work, send: send, name: clean(name), room: clean(chat.Room()),
		now: time.Now(), input: newInput(),
	}
	m.log.styles = &m.styles
	m.restyle(true)
	return m
}

// newInput returns the line to type in. Its cursor is drawn and does not blink; the clipboard
// belongs to the terminal.
func newInput() textinput.Model {
	in := textinput.New()
	in.Prompt = "> "
	in.CharLimit = wire.MaxText
	in.KeyMap.Paste = key.NewBinding()
	looks := in.Styles()
	looks.Cursor.Blink = false
	looks.Cursor.Color = nil
	in.SetStyles(looks)
	in.Focus()
	return in
}

// What comes into Update beside keys and sizes.
type (
	eventsMsg []client.Event // some of the Chat's events, in order
	goneMsg   struct{}       // the Chat's events have ended
	tickMsg   time.Time      // the time has gone on
	// doneMsg is what a line or a change of room has come to.
	doneMsg struct {
		what string
		err  error
	}
)

// Init does nothing: what there is to do at the start is Run's.
func (m *model) Init() tea.Cmd { return nil }

// Update is the next state after msg.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.arrange()
	case tea.ColorProfileMsg:
		m.restyle(msg.Profile > colorprofile.ASCII)
	case tea.KeyPressMsg:
		return m, m.key(msg)
	case tea.MouseWheelMsg:
		m.wheel(msg)
	case tea.PasteMsg:
		return m, m.paste(clean(msg.Content))
	case eventsMsg:
		for i := range msg {
			m.event(&msg[i])
		}
	case goneMsg:
		m.state = client.Closed
	case tickMsg:
		m.now = time.Time(msg)
	case doneMsg:
		m.done(msg)
	case progressMsg:
		m.progress(msg)
	case arrivedMsg:
		m.arrived(msg)
	}
	return m, nil
}

// restyle changes all looks, as colours are found to be there or not.
func (m *model) restyle(coloured bool) {
	m.styles = newStyles(coloured)
	m.log.relayout()
	looks := m.input.Styles()
	looks.Focused.Prompt = m.styles.dim
	m.input.SetStyles(looks)
}

// say adds an entry of the program's own to the messages.
func (m *model) say(kind entryKind, text string) {
	m.log.add(&entry{kind: kind, text: clean(text)})
}

// done tells of a line or a change of room that has not worked; what has worked comes back as
// events.
func (m *model) done(msg doneMsg) {
	if msg.err != nil {
		m.say(failed, msg.what+": "+msg.err.Error())
	}
	m.follow()
}

// follow notices that the Chat is in another room.
func (m *model) follow() {
	room := clean(m.chat.Room())
	if room == m.room {
		return
	}
	m.room, m.members = room, nil
	m.log.add(&entry{kind: gap, text: "— " + room + " —"})
}
