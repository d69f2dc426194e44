// Package sockets measures servers that fan one chat out to many WebSockets or event streams. The
// server under test is a process of its own, benchmarks/sockets/server, so that only that process
// needs the libraries that are compared. The clients are in the process that imports this package.
package sockets

import "strconv"

// MessageSize is how many bytes a message has.
const MessageSize = 150

// A message says its number once: mark and digits. Nothing else that a server sends contains the
// mark, so that one reader can count the messages of all servers.
const (
	mark   = '#'
	digits = 12
	saying = " is what one of them has to say to all the others"
	about  = `,"at":"2026-11-29T12:00:00.123456789Z","by":7,"chat":1}`
)

// AppendText appends what a message says.
func AppendText(b []byte, number int64) []byte {
	decimal := strconv.FormatInt(number, 10)
	b = append(b, mark)
	for range digits - len(decimal) {
		b = append(b, '0')
	}
	b = append(b, decimal...)
	return append(b, saying...)
}

// AppendMessage appends a message as JSON.
func AppendMessage(b []byte, number int64) []byte {
	b = append(b, `{"id":"1","kind":"said","text":"`...)
	b = AppendText(b, number)
	b = append(b, '"')
	return append(b, about...)
}
