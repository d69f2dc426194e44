// Package engine says what a system must do to keep the order of chats for the brokers of many
// processes. A program passes its driver, such as that of package broadcastnats, to
// broadcast.WithEngine, and needs nothing of this package.
//
// An engine stores, for each chat, a sequence of records. A [Record] is a batch of messages that
// one node, the broker of one process, has published. Each record has a [Place], which holds the
// epoch and the number of its last message, and a mark, by which the engine finds the record. A
// node chooses the numbers; the engine makes the marks, and refuses a record if the node does not
// know the newest mark. So two nodes never use the same number for different messages.
//
// A driver implements [Engine] and [Session]. Package enginetest tests it.
package engine

import (
	"context"
	"errors"
)

// An Engine stores the records of chats and hands them to the nodes that follow a chat.
type Engine interface {
	// Open returns a session, or an error when ctx is done or the engine refuses. The session calls
	// sink from then on, also while Open is running, until its Close has returned.
	Open(ctx context.Context, sink Sink) (Session, error)
}

// A Session is the connection of one broker, a node, to the engine. It reconnects by itself, and
// follows the same chats as before when it has.
//
// All methods are safe for concurrent use. Those with a context return early when it is done.
// What Heads and Read return may be out of date: they may miss the newest records for a while, or
// still have those that were purged.
// Append must be exact: it compares with the newest record there is.
type Session interface {
	// Append stores a record, provided that the newest record of the chat is the one with the mark
	// after.Mark, or that there is none if that is 0. The messages of the batch, of which there may
	// be none, get the numbers after after.Seq in after.Epoch. id is stored with the record: a node
	// recognizes its own records by it, and uses the same id when it appends a batch again. Append
	// calls done with the place of the record, or with an error. done does not block.
	//
	// Append does not wait for the engine. It blocks only while the connection takes no data. done
	// is called at most once, perhaps before Append has returned, and not after Close has. After
	// two seconds without a call of done the node no longer waits for it, so the session may forget
	// an append of which it has heard nothing for as long.
	//
	// ErrConflict, ErrAway and ErrRefused, also wrapped, mean that this call has not stored the
	// record and never will. After any other error it may be stored, now or later, even after the
	// session has reconnected.
	Append(chat string, after Place, batch [][]byte, id string, done func(Place, error))

	// Follow makes the session hand to its sink what is stored in the chats after Follow has
	// returned. Records may be missing, repeated, and out of order.
	Follow(ctx context.Context, chats ...string) error

	// Unfollow ends what Follow began. It does not wait for the engine.
	Unfollow(chats ...string)

	// Heads returns the newest records of the chats, in the order of the arguments, without their
	// messages and without Prev, with the zero Record for a chat without records. The engine may
	// remove old records of a chat, but must keep the newest one until it is purged.
	Heads(ctx context.Context, chats ...string) ([]Record, error)

	// Read returns the oldest records of a chat with marks above after.Mark, in order and without a
	// gap, at most max. It returns at least one if there is one.
	Read(ctx context.Context, chat string, after Place, max int) ([]Record, error)

	// Purge removes the records of a chat with marks up to mark, and nothing that was stored after
	// the engine has lost its memory of the record with that mark. It is not an error if there are
	// none. The chat may have no record then, and the next one is stored as if it were the first,
	// but with a mark above all before. After an error the records may be removed, now or later.
	Purge(ctx context.Context, chat string, mark uint64) error

	// Send hands data to the sinks of the nodes that follow a chat, or of all nodes if the subject
	// is empty. It may be lost, and the node itself may get it too. Send does not wait for the
	// engine.
	Send(subject string, data []byte) error

	// Close ends the session. When it returns, neither the sink nor done is called any more.
	Close(ctx context.Context) error
}

// A Sink is what a session calls. Its methods do not block. They are safe for concurrent use.
type Sink interface {
	// Stored hands over a record of a chat that is followed. The sink keeps it, and nobody may
	// change its messages.
	Stored(chat string, r Record)

	// Sent hands over what a node has sent. The sink does not keep data.
	Sent(subject string, data []byte)

	// Up says whether the engine can be reached. Until the first call, it cannot. The session must
	// call Up(true) after each reconnection, even without Up(false) before, because the engine may
	// have lost its memory. It should also call Up(true) when it had to drop records that it would
	// have handed over.
	Up(up bool)

	// Failed says why the engine cannot be reached, for people to read. The sink keeps the last
	// error until Up(true). The session may call Failed at any time while the engine cannot be
	// reached, and any number of times. err is not nil.
	Failed(err error)
}

// A Place is a place in the order of a chat: just after a record. The zero Place is before all
// records.
type Place struct {
	// Epoch names the numbering, and is never 0. Epochs grow in the order of a chat. A new one
	// begins when the engine has lost the old one.
	Epoch uint64

	// Seq is the number of the last message of the record. Messages are counted from 1 in each
	// epoch, without gaps. A record without messages has the Seq of the record before.
	Seq uint64

	// Mark is how the engine finds the record. A mark is not 0. No two records of a chat ever have
	// the same mark, and marks grow in the order of a chat as long as the engine remembers it.
	Mark uint64
}

// A Record is what one call of Append has stored: messages that one node published.
type Record struct {
	Place
	Prev  uint64   // mark of the record before, 0 if there was none
	ID    string   // as given to Append
	Batch [][]byte // the messages
}

// Errors of [Session.Append] that mean that nothing was stored.
var (
	// ErrConflict means that the chat has a newer record.
	ErrConflict = errors.New("conflict")
	// ErrRefused means that the engine will never store such a record, for example because it is
	// too large.
	ErrRefused = errors.New("refused by the engine")
	// ErrAway means that the engine cannot be reached.
	ErrAway = errors.New("broadcast: engine is away")
)
