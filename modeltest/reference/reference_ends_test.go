package reference_test

import (
	"slices"

	"github.com/fbd86cad/broadcast"
)

// This file is the ends of chats.

// endChat predicts EndChat: nobody publishes any more, nobody is present, and readers end when they
// have taken all.
func (b *refBroker) endChat(chat string, reason error) (err error) {
	if b.closed {
		return broadcast.ErrBrokerClosed
	}
	c := b.chat(chat)
	if c == nil {
		if c, err = b.make(chat); err != nil {
			return err
		}
	}
	if c.ended != nil {
		reached.count(endedAgain)
		return c.ended
	}
	c.ended, c.idleSince = reason, b.now
	reached.countIf(endedWhilePublishing, len(c.queue) > 0)
	for _, call := range c.queue {
		b.refuse(call, reason)
	}
	c.queue, c.absent = nil, nil
	for _, s := range slices.Clone(c.readers) {
		b.drained(s)
		reached.countIf(drainsAfterEnd, s.err == nil)
	}
	return nil
}

// cut ends the readers of a chat that has ended, when it is to be forgotten. What fits their
// buffers they may still take.
func (b *refBroker) cut(c *refChat) {
	for _, s := range slices.Clone(c.readers) {
		if over := s.count() - s.buffer; over > 0 {
			reached.count(cutReplay)
			s.lose(over)
		}
		reached.count(cutAtTheEnd)
		b.end(s, c.ended)
	}
}

// lose misses the oldest n of a replay.
func (s *refSub) lose(n int) {
	s.missed += uint64(n)
	s.replay = 0
	if s.gone > 0 { // what DropRandom has left we do not know
		s.gone += n
		s.goneUpTo = s.pending[len(s.pending)-1].seq
		return
	}
	s.pending = s.pending[n:]
}

// endsWith returns why the readers of a chat end when they have taken all.
func (c *refChat) endsWith() error {
	if c.ended != nil {
		return c.ended
	}
	return broadcast.ErrBrokerClosed
}

// idle notes that a chat has no reader now, unless it has. One that has ended is idle from then on.
func (b *refBroker) idle(c *refChat) {
	if len(c.readers) == 0 && c.ended == nil {
		c.idleSince = b.now
	}
}

// forgetChat predicts Forget.
func (b *refBroker) forgetChat(chat string) error {
	if b.closed {
		return broadcast.ErrBrokerClosed
	}
	c := b.chat(chat)
	switch {
	case c == nil:
		return nil
	case len(c.readers) > 0 || len(c.queue) > 0:
		reached.count(forgetInUse)
		return broadcast.ErrInUse
	}
	reached.countIf(forgotChat, len(c.log) > 0)
	b.chats = slices.DeleteFunc(b.chats, func(other *refChat) bool { return other == c })
	return nil
}
