package tui

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

func TestMessagesJoinsAndLeavesAppearInTheirOrder(t *testing.T) {
	s := newScreen(t, 80, 12)
	s.happens(
		state(client.Online), present("ann"),
		client.Event{Kind: client.Joined, Room: "general", Name: "bob", Members: []string{"ann", "bob"}},
		message("bob", "hello"),
		client.Event{Kind: client.Left, Room: "general", Name: "bob", Members: []string{"ann"}},
		message("ann", "gone already"),
	)
	shown := s.shows()
	last := -1
	for _, text := range []string{"→ bob joined", "hello", "← bob left", "gone already"} {
		at := strings.Index(shown, text)
		assert.Greater(t, at, last, text)
		last = at
	}
	assert.Equal(t, []string{"ann"}, s.members)
}

func TestTheStatusLineTellsRoomNameAndConnection(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.has("#general", "connecting", "ann")
	s.happens(state(client.Online))
	s.has("● online")
	s.happens(client.Event{Kind: client.StateChanged, State: client.Offline, Err: errors.New("server stopped"), Retry: 3 * time.Second})
	s.has("offline, again in 3 s", "server stopped")
	s.update(tickMsg(s.now.Add(1500 * time.Millisecond)))
	s.has("again in 2 s")
	s.update(tickMsg(s.now.Add(10 * time.Second)))
	s.has("trying again")
	s.happens(state(client.Connecting))
	s.has("connecting")
	s.happens(client.Event{Kind: client.StateChanged, State: client.Offline, Err: errors.New("server stopped"), Retry: 3 * time.Second})
	assert.Equal(t, 1, strings.Count(s.shows(), "server stopped"), "it is said once")
	s.happens(state(client.Connecting), state(client.Online))
	s.has("● online", "connected again")
	s.happens(client.Event{Kind: client.StateChanged, State: client.Closed, Err: errors.New("replaced")})
	s.has("closed", "the chat is over: replaced")
}

func TestMissedMessagesAreMarked(t *testing.T) {
	s := newScreen(t, 80, 6)
	s.happens(client.Event{Kind: client.Missed, Missed: 12}, client.Event{Kind: client.Missed, Missed: 1})
	s.has("— 12 messages missed —", "— 1 message missed —")
}

func TestALineIsSentAndShownOnlyWhenItComesBack(t *testing.T) {
	s := newScreen(t, 80, 6)
	s.typed("  hi there ")
	s.work()
	assert.Equal(t, []string{"send hi there"}, s.chat.was())
	s.hasNot("hi there")
	s.typed("//etc is a path")
	s.typed("   ")
	s.work()
	assert.Equal(t, "send /etc is a path", s.chat.was()[1])
	assert.Len(t, s.chat.was(), 2)
}

func TestWhatCannotBeSentIsSaidAndCanBeRecalled(t *testing.T) {
	s := newScreen(t, 80, 6)
	s.chat.err = errAny
	s.typed("precious")
	s.work()
	s.has(`"precious": any error`)
	s.press(tea.KeyUp)
	assert.Equal(t, "precious", s.input.Value())
	for range maxQueued {
		s.typed("more")
	}
	s.typed("too much")
	s.has("too much is waiting")
}

func TestUpAndDownGoThroughWhatWasTyped(t *testing.T) {
	s := newScreen(t, 80, 6)
	for _, line := range []string{"one", "two", "two"} {
		s.typed(line)
	}
	s.keys("draft")
	for _, want := range []string{"two", "one", "one"} {
		s.press(tea.KeyUp)
		assert.Equal(t, want, s.input.Value())
	}
	for _, want := range []string{"two", "draft", "draft"} {
		s.press(tea.KeyDown)
		assert.Equal(t, want, s.input.Value())
	}
}

func TestRecallIsBounded(t *testing.T) {
	var r recall
	for i := range 3 * maxRecall {
		r.add(fmt.Sprint(i))
	}
	assert.Len(t, r.lines, maxRecall)
	assert.Equal(t, fmt.Sprint(3*maxRecall-1), r.back(""))
}

func TestJoiningShowsTheNewRoom(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.happens(present("ann", "bob"))
	s.typed("/join other")
	s.work()
	s.has("#other", "— other —")
	assert.Empty(t, s.members, "the members of the old room are not here")
	s.happens(present("ann", "bob"), message("bob", "late"))
	s.has("[general] late")
	assert.Empty(t, s.members)
	s.happens(client.Event{Kind: client.Members, Room: "other", Members: []string{"ann"}})
	assert.Equal(t, []string{"ann"}, s.members)
}

func TestJoinThatFailsStaysAndSaysWhy(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.chat.err = errAny
	s.typed("/join other")
	s.typed("/join")
	s.work()
	s.has("#general", "/join other: any error", "which room?")
}

func TestCommandsExplainThemselves(t *testing.T) {
	s := newScreen(t, 100, 24)
	s.happens(present("ann", "bob"))
	s.typed("/help")
	for _, c := range commands() {
		s.has("/"+c.name, c.help)
	}
	s.typed("/who")
	s.has("2 here: ann, bob")
	s.typed("/nonsense")
	s.has("/nonsense: no such command")
	s.typed("/upload")
	s.typed("/download")
	s.typed("/cancel")
	s.has("which file?", "no transfer to stop")
	assert.Empty(t, s.chat.was())
	assert.False(t, s.quits)
	s.typed("/quit")
	assert.True(t, s.quits)
}

func TestCtrlCQuitsAndCtrlDOnlyIfNothingIsTyped(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.keys("abc")
	s.press('d', tea.ModCtrl)
	assert.False(t, s.quits)
	s.press('u', tea.ModCtrl)
	s.press('d', tea.ModCtrl)
	assert.True(t, s.quits)
	s = newScreen(t, 80, 8)
	s.keys("abc")
	s.press('c', tea.ModCtrl)
	assert.True(t, s.quits)
}

func TestAnUploadShowsItsProgressAndItsEnd(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.typed("/upload '/tmp/some dir/report.pdf'")
	require.NotNil(t, s.moving)
	s.update(progressMsg{s.moving, 50, 100})
	s.has("↑ report.pdf ██████░░░░░░ 50%")
	s.typed("/upload another")
	s.has("report.pdf is still on its way")
	s.work()
	s.has("uploaded report.pdf as f1")
	s.hasNot("50%")
	assert.Equal(t, []string{"upload /tmp/some dir/report.pdf"}, s.chat.was())
}

func TestEscAndCancelStopATransfer(t *testing.T) {
	for name, stop := range map[string]func(*screen){
		"esc":    func(s *screen) { s.press(tea.KeyEscape) },
		"cancel": func(s *screen) { s.typed("/cancel") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen(t, 80, 8)
			s.chat.hold = make(chan struct{})
			s.typed("/upload big")
			stop(s)
			s.work()
			s.has("upload of big cancelled")
			assert.Nil(t, s.moving)
		})
	}
}

func TestATransferThatFailsSaysWhy(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.chat.err = errAny
	s.typed("/upload big")
	s.work()
	s.has("any error")
}

func TestSharedFilesAreShownAndDownloadedUnderTheirNames(t *testing.T) {
	s := newScreen(t, 100, 8)
	share := func(id, name string) {
		s.happens(client.Event{Kind: client.FileShared, Room: "general", Name: "bob", File: client.File{ID: id, Name: name, Size: 2_345_678}})
	}
	share("7f3a", "notes.txt")
	s.has("notes.txt (2.3 MB)  /download 7f3a")
	for _, tt := range []struct{ id, name, path string }{
		{"a1", "../../.bashrc", "bashrc"},
		{"a2", `..\..\evil.exe`, "evil.exe"},
		{"a3", "/etc/passwd", "passwd"},
		{"a4", "...", "download"},
		{"a5", ".ssh/authorized_keys", "authorized_keys"},
	} {
		share(tt.id, tt.name)
		assert.Equal(t, tt.path, s.nameOf(tt.id), tt.name)
	}
	s.typed("/download 7f3a")
	s.work()
	s.typed("/download 7f3a /tmp/other name")
	s.work()
	assert.Equal(t, []string{"download 7f3a to notes.txt", "download 7f3a to /tmp/other name"}, s.chat.was())
	s.has("saved as notes.txt")
}

func TestSizesAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1 kB", 1234: "1.2 kB", 999_949: "999.9 kB", 999_950: "1 MB", 20_000_000: "20 MB", 1 << 40: "1.1 TB",
	} {
		assert.Equal(t, want, size(n))
	}
}

func TestTabCompletesCommandsNamesAndFiles(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.happens(present("ann", "bob", "bobby"),
		client.Event{Kind: client.FileShared, Name: "bob", File: client.File{ID: "7f3a", Name: "x"}})
	for _, tt := range []struct{ typed, completed string }{
		{"/he", "/help "},
		{"/", "/"},
		{"/x", "/x"},
		{"", ""},
		{"an", "ann: "},
		{"bo", "bob"},
		{"hello an", "hello ann "},
		{"/download 7", "/download 7f3a "},
		{"/join an", "/join an"},
	} {
		s.input.Reset()
		s.keys(tt.typed)
		s.press(tea.KeyTab)
		assert.Equal(t, tt.completed, s.input.Value(), tt.typed)
	}
}

func TestTheSameNameHasTheSameColourEverywhere(t *testing.T) {
	a, b := newStyles(true), newStyles(true)
	assert.Equal(t, a.of("ann").Render("x"), b.of("ann").Render("x"))
	assert.NotEqual(t, a.of("ann").Render("x"), a.of("bob").Render("x"))
}

func TestWithoutColoursThereAreNone(t *testing.T) {
	s := newScreen(t, 80, 12)
	s.update(tea.ColorProfileMsg{Profile: colorprofile.ASCII})
	fill(s)
	assert.NotContains(t, s.View().Content, "38;5;")
	assert.NotContains(t, s.View().Content, "48;5;")
}

// fill puts something of every kind on the screen.
func fill(s *screen) {
	s.happens(
		state(client.Online), client.Event{Kind: client.Joined, Room: "general", Name: "carl"},
		present("ann", "bob", strings.Repeat("long", 20), "日本語の名前です"),
		message("bob", strings.Repeat("word ", 60)),
		message("日本語の名前です", strings.Repeat("日本語", 60)),
		message(strings.Repeat("long", 20), strings.Repeat("x", 300)),
		message("bob", "👩‍👩‍👧‍👦 é Z̸͎a̴l̵g̶o̷"),
		client.Event{Kind: client.Missed, Missed: 12},
		client.Event{Kind: client.FileShared, Name: "bob", File: client.File{ID: "7f3a", Name: "report.pdf", Size: 5}},
		client.Event{Kind: client.Notice, Room: "general", Text: "notice"},
		client.Event{Kind: client.StateChanged, State: client.Offline, Err: errAny, Retry: time.Minute},
	)
	s.typed("/upload report.pdf")
	s.update(progressMsg{s.moving, 1, 3})
}

func TestEverySizeIsDrawnWithinIt(t *testing.T) {
	s := newScreen(t, 0, 0)
	fill(s)
	for _, scrolled := range []bool{false, true} {
		for width := range 100 {
			for _, height := range []int{0, 1, 2, 3, 4, 7, 30} {
				s.update(tea.WindowSizeMsg{Width: width, Height: height})
				if scrolled {
					s.press(tea.KeyPgUp)
				}
				s.fits()
			}
		}
	}
}

func TestThereAreNoMembersOnNarrowScreens(t *testing.T) {
	s := newScreen(t, membersFrom, 8)
	s.happens(present("ann", "zoe"))
	s.has("2 here", "zoe")
	s.update(tea.WindowSizeMsg{Width: membersFrom - 1, Height: 8})
	s.hasNot("2 here", "zoe")
}

func TestMoreMembersThanLinesAreCounted(t *testing.T) {
	s := newScreen(t, 80, 6) // four lines for members
	s.happens(present("a1", "a2", "a3"))
	s.has("3 here", "a3")
	s.happens(present("a1", "a2", "a3", "a4", "a5"))
	s.has("5 here", "a2", "+3 more")
	s.hasNot("a3")
}

func TestNothingThatATerminalObeysReachesTheScreen(t *testing.T) {
	evil := "a\x1b]0;title\x07\x1b[2J\u009b31m\r\n\t\u202eb\x00\xff\u2066"
	s := newScreen(t, 120, 30)
	s.chat.err = errors.New(evil)
	s.happens(
		message(evil, evil), present(evil),
		client.Event{Kind: client.Joined, Name: evil},
		client.Event{Kind: client.Left, Name: evil},
		client.Event{Kind: client.Notice, Text: evil},
		client.Event{Kind: client.FileShared, Name: evil, File: client.File{ID: evil, Name: evil}},
		client.Event{Kind: client.StateChanged, State: client.Closed, Err: errors.New(evil)},
	)
	s.typed("/upload " + evil)
	s.typed("text")
	s.work()
	s.chat.room = evil
	s.update(doneMsg{})
	s.update(tea.PasteMsg{Content: evil})
	s.fits()
	content := s.View().Content
	for _, bad := range []string{"\x1b]", "\x1b[2J", "\u009b", "\r", "\t", "\u202e", "\x00", "\u2066", "\xff"} {
		assert.NotContains(t, content, bad, "%q", bad)
	}
	for _, r := range ansi.Strip(content) {
		assert.True(t, r == '\n' || clean(string(r)) == string(r), "%q", r)
	}
	assert.NotContains(t, s.View().WindowTitle, "\x1b")
}

func TestPastedLinesBecomeOne(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.update(tea.PasteMsg{Content: "one\ntwo"})
	assert.Equal(t, "one two", s.input.Value())
}

func TestALongPasteIsTakenWholeOrRefusedAloud(t *testing.T) {
	s := newScreen(t, 120, 8)
	longest := strings.Repeat("é", wire.MaxText/2-1)
	s.update(tea.PasteMsg{Content: longest})
	assert.Equal(t, longest, s.input.Value())
	s.update(tea.PasteMsg{Content: "abc"})
	assert.Equal(t, longest, s.input.Value(), "nothing of it")
	s.has("not pasted: the line would have 4097 bytes")
	s.update(tea.PasteMsg{Content: "ab"})
	s.press(tea.KeyEnter)
	s.work()
	assert.Equal(t, []string{"send " + longest + "ab"}, s.chat.was())
}

func TestPathsMayBeQuotedOrBeginAtHome(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	for typed, path := range map[string]string{
		"~/a b": "/home/ann/a b", "'/tmp/a b'": "/tmp/a b", `"~/x"`: "/home/ann/x", "'": "'", "''": "", "a'b": "a'b", "~": "~",
	} {
		assert.Equal(t, path, expand(typed), typed)
	}
}

func TestFilesThatAreRememberedAreBounded(t *testing.T) {
	s := newScreen(t, 80, 8)
	for i := range 3 * maxFiles {
		s.happens(client.Event{Kind: client.FileShared, Name: "bob", File: client.File{ID: fmt.Sprint(i)}})
	}
	assert.Len(t, s.files, maxFiles)
	assert.Equal(t, fmt.Sprint(3*maxFiles-1), s.files[maxFiles-1].ID)
}

func TestCompletionIsForTheEndOfALineOnly(t *testing.T) {
	s := newScreen(t, 80, 8)
	s.happens(present("ann"))
	s.keys("an")
	s.press(tea.KeyLeft)
	s.press(tea.KeyTab)
	assert.Equal(t, "an", s.input.Value())
}
