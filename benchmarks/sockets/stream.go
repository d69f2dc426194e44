package sockets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Framing is how a server delimits what it sends.
type Framing int

// The framings.
const (
	WebSocket Framing = iota
	EventStream
)

// stream is what one client has received: the head of the answer, then frames or chunks. It counts
// messages and checks their numbers, and does so as cheaply as it can, because the clients use the
// same processors as the server. It keeps no bytes but those of an incomplete head.
type stream struct {
	framing Framing
	body    func(*stream, []byte) error // reads what follows the head; nil before the head is complete

	head   [maxHead]byte // of the answer or, later, of a frame
	inHead int           // how many bytes of it are there
	left   uint64        // bytes of the frame or chunk that have not come
	skip   bool          // they are not text

	missingDigits int   // of the number that is being read
	number        int64 // as far as it is read

	last   int64 // number of the latest message; 0: none yet
	lost   int64 // messages that are missing between others
	frames int64 // that carried text, or chunks
	bytes  int64 // of text
}

const maxHead = 512

var (
	errOrder  = errors.New("a message came twice or out of order")
	errNumber = errors.New("a message without a number")
	errHead   = errors.New("the head of the answer is too long")
)

// feed takes bytes as they come.
func (s *stream) feed(p []byte) error {
	if s.body != nil {
		return s.body(s, p)
	}
	for i, b := range p {
		if s.inHead == len(s.head) {
			return errHead
		}
		s.head[s.inHead] = b
		s.inHead++
		if b == '\n' && bytes.HasSuffix(s.head[:s.inHead], []byte("\r\n\r\n")) {
			if err := s.begin(s.head[:s.inHead]); err != nil {
				return err
			}
			s.inHead = 0
			return s.body(s, p[i+1:])
		}
	}
	return nil
}

// begun reports whether the head of the answer is complete.
func (s *stream) begun() bool { return s.body != nil }

// begin chooses how to read on.
func (s *stream) begin(head []byte) error {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	switch {
	case s.framing == WebSocket && bytes.HasPrefix(line, []byte("HTTP/1.1 101 ")):
		s.body = (*stream).feedFrames
	case s.framing == EventStream && bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
		s.body = (*stream).feedEvents
		if bytes.Contains(bytes.ToLower(head), []byte("\r\ntransfer-encoding: chunked\r\n")) {
			s.body = (*stream).feedChunks
		}
	default:
		return fmt.Errorf("the answer is %q", line)
	}
	return nil
}

// The first byte of a frame.
const (
	final      = 0x80
	reserved   = 0x70
	opcodeBits = 0x0f

	opcodeBinary  = 2
	opcodeClose   = 8
	opcodeControl = 8 // and above
)

// feedFrames reads WebSocket frames.
func (s *stream) feedFrames(p []byte) error {
	for len(p) > 0 {
		if s.left == 0 {
			n := s.addHead(p)
			p = p[n:]
			size, ok := s.frameSize()
			if !ok {
				continue // which ends the loop
			}
			if err := s.beginFrame(); err != nil {
				return err
			}
			s.left, s.inHead = size, 0
			continue
		}
		n := min(uint64(len(p)), s.left)
		s.left -= n
		if !s.skip {
			if err := s.text(p[:n]); err != nil {
				return err
			}
		}
		p = p[n:]
	}
	return nil
}

// addHead adds bytes to the head of a frame until it is complete, and returns how many.
func (s *stream) addHead(p []byte) (n int) {
	for n < len(p) {
		if _, ok := s.frameSize(); ok {
			return n
		}
		s.head[s.inHead] = p[n]
		s.inHead++
		n++
	}
	return n
}

// frameSize returns the size of the payload when the head of the frame is complete.
func (s *stream) frameSize() (size uint64, ok bool) {
	if s.inHead < 2 {
		return 0, false
	}
	switch short := s.head[1]; {
	case short < 126, short > 127: // the latter is masked, which beginFrame refuses
		return uint64(short), true
	case short == 126 && s.inHead == 4:
		return uint64(binary.BigEndian.Uint16(s.head[2:])), true
	case short == 127 && s.inHead == 10:
		return binary.BigEndian.Uint64(s.head[2:]), true
	}
	return 0, false
}

func (s *stream) beginFrame() error {
	opcode := s.head[0] & opcodeBits
	switch {
	case s.head[0]&reserved != 0 || s.head[1] > 127:
		return fmt.Errorf("a frame begins with % x", s.head[:2])
	case opcode == opcodeClose:
		return errors.New("the server has closed a socket")
	case opcode <= opcodeBinary:
		s.frames++
	}
	s.skip = opcode >= opcodeControl
	return nil
}

// feedEvents reads an event stream that is not chunked.
func (s *stream) feedEvents(p []byte) error {
	s.frames++ // as they come
	return s.text(p)
}

// feedChunks reads the chunks of an event stream, without looking at where events begin.
func (s *stream) feedChunks(p []byte) error {
	for len(p) > 0 {
		if s.left > 0 {
			n := min(uint64(len(p)), s.left)
			s.left -= n
			if err := s.text(p[:n]); err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		// The end of the chunk before, and the line with the size of the next.
		i := bytes.IndexByte(p, '\n')
		line := p
		if i >= 0 {
			line = p[:i+1]
		}
		if s.inHead+len(line) > len(s.head) {
			return errHead
		}
		s.inHead += copy(s.head[s.inHead:], line)
		p = p[len(line):]
		if i < 0 {
			continue // which ends the loop
		}
		size := bytes.TrimSpace(s.head[:s.inHead])
		s.inHead = 0
		if len(size) == 0 {
			continue
		}
		var err error
		if s.left, err = strconv.ParseUint(string(size), 16, 63); err != nil || s.left == 0 {
			return errors.Join(errors.New("the server has ended a stream"), err)
		}
		s.frames++
	}
	return nil
}

// text finds the numbers of messages.
func (s *stream) text(p []byte) error {
	s.bytes += int64(len(p))
	for {
		if s.missingDigits == 0 {
			i := bytes.IndexByte(p, mark)
			if i < 0 {
				return nil
			}
			p = p[i+1:]
			s.missingDigits, s.number = digits, 0
		}
		n := min(len(p), s.missingDigits)
		for _, digit := range p[:n] {
			if digit < '0' || digit > '9' {
				return errNumber
			}
			s.number = 10*s.number + int64(digit-'0')
		}
		p = p[n:]
		if s.missingDigits -= n; s.missingDigits > 0 {
			return nil
		}
		if err := s.arrived(s.number); err != nil {
			return err
		}
	}
}

func (s *stream) arrived(number int64) error {
	switch {
	case number <= s.last:
		return fmt.Errorf("%w: %d after %d", errOrder, number, s.last)
	case s.last > 0:
		s.lost += number - s.last - 1
	}
	s.last = number
	return nil
}
