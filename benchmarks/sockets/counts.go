package sockets

// Counts are what clients have received.
type Counts struct {
	Frames int64 // or chunks
	Bytes  int64 // of text
	Lost   int64 // messages missing between others
}
