// Package tui is termchat's full screen: the messages with scroll-back, who is here, a status line
// and a line to type in. It shows the events of a [Chat] and passes on what is typed; it knows
// nothing of sockets.
//
// One goroutine owns all state (Bubble Tea's event loop). Three others serve it: one reads the
// Chat's events, one passes lines and changes of room to the Chat in the order in which they were
// typed, and one transfers a file. [Run] returns when all of them have ended and the terminal is
// restored.
//
// The Chat's texts should already be safe for a terminal. Everything unprintable is removed once
// more before they reach the screen. Memory is bounded: see maxEntries and maxRecall.
package tui
