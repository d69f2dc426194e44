// Package tui is termchat's full screen: the messages with scroll-back, who is here, a status line and a line to
// type in. It shows what a [Chat] tells and asks it for what is typed; it knows nothing of sockets.
//
// One goroutine owns all state (Bubble Tea's event loop). Around it are one that reads the Chat's events, one that
// hands it lines and changes of room in the order they were typed, and one for a file that is on its way. [Run]
// returns when all of them have ended, with the terminal as it was found.
//
// The Chat's texts should be safe for a terminal already. They are stripped of everything unprintable once more
// before they reach the screen. Memory is bounded: see maxEntries and maxRecall.
package tui
