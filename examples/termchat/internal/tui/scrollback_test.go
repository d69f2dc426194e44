package tui

import (
	"fmt"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/assert"
)

// numbered shows messages 1 to n.
func numbered(s *screen, from, to int) {
	for i := from; i <= to; i++ {
		s.happens(message("bob", fmt.Sprintf("number %d.", i)))
	}
}

func TestTheEndIsFollowedUnlessScrolledUp(t *testing.T) {
	s := newScreen(t, 80, 12) // ten lines of messages
	numbered(s, 1, 50)
	s.has("number 50.", "number 41.")
	s.press(tea.KeyPgUp)
	s.has("number 41.", "Esc: back to the end")
	s.hasNot("number 50.")
	before := s.log.window()
	numbered(s, 51, 51)
	s.has("1 new message below")
	numbered(s, 52, 60)
	s.has("10 new messages below")
	assert.Equal(t, before, s.log.window(), "what is read stays where it is")
	s.press(tea.KeyEscape)
	s.has("number 60.")
	s.hasNot("below")
}

func TestScrollingStopsAtBothEnds(t *testing.T) {
	s := newScreen(t, 80, 12)
	numbered(s, 1, 30)
	for range 10 {
		s.press(tea.KeyPgUp)
	}
	s.has("number 1.")
	for range 10 {
		s.press(tea.KeyPgDown)
	}
	s.has("number 30.")
	assert.True(t, s.log.following())
	s.press(tea.KeyHome, tea.ModCtrl)
	s.has("number 1.")
	s.press(tea.KeyEnd, tea.ModCtrl)
	s.has("number 30.")
}

func TestTheMouseWheelScrolls(t *testing.T) {
	s := newScreen(t, 80, 12)
	numbered(s, 1, 30)
	s.update(tea.MouseWheelMsg{Button: tea.MouseWheelUp})
	assert.Equal(t, wheelLines, s.log.up)
	s.update(tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	assert.True(t, s.log.following())
}

func TestEnteringALineGoesBackToTheEnd(t *testing.T) {
	s := newScreen(t, 80, 12)
	numbered(s, 1, 30)
	s.press(tea.KeyPgUp)
	s.typed("hello")
	assert.True(t, s.log.following())
}

func TestAChangeOfWidthKeepsTheEntryAtTheBottom(t *testing.T) {
	s := newScreen(t, 60, 12)
	for i := range 40 {
		s.happens(message("bob", fmt.Sprintf("number %d. and so many words after it that they need some lines of a narrow screen", i)))
	}
	s.press(tea.KeyPgUp)
	s.press(tea.KeyPgUp)
	bottom := s.log.entries[s.log.bottom()]
	for _, width := range []int{30, 120, 57, 200, 1, 60} {
		s.update(tea.WindowSizeMsg{Width: width, Height: 12})
		assert.Same(t, bottom, s.log.entries[s.log.bottom()], "width %d", width)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := newScreen(t, 80, 12)
	s.press(tea.KeyPgUp)
	numbered(s, 1, maxEntries/2)
	s.press(tea.KeyPgUp)
	numbered(s, 1, 3*maxEntries)
	assert.LessOrEqual(t, len(s.log.entries), maxEntries)
	assert.LessOrEqual(t, cap(s.log.entries), 4*maxEntries)
	lines := 0
	for _, e := range s.log.entries {
		lines += len(e.lines)
	}
	assert.Equal(t, lines, s.log.total)
	assert.Equal(t, lines-s.log.height, s.log.up, "the window is at the oldest that is left")
	s.fits()
}
