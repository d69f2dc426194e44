package broadcastnats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fbd86cad/broadcast/engine"
)

// conditionHeader makes the server store a message only if the last one of its subject has this
// sequence.
const conditionHeader = "Nats-Expected-Last-Subject-Sequence"

// Append implements [engine.Session].
func (s *session) Append(
	chat string, after engine.Place, batch [][]byte, id string, done func(engine.Place, error),
) {
	a := &appending{
		session: s, subject: s.stored(chat), after: after, batch: batch, id: id, done: done,
		busyUntil: time.Now().Add(busyTimeout),
	}
	a.send()
}

// An appending is a call of Append. One goroutine at a time uses it.
type appending struct {
	call    call
	session *session
	subject string
	after   engine.Place
	batch   [][]byte
	id      string
	done    func(engine.Place, error)

	before    uint64 // the newest mark when it was sent
	pause     time.Duration
	busyUntil time.Time
}

// errBusy is the error of the leader while another message is on its way to the same subject. It
// does not know yet whether that one will be stored, or has not noticed yet that it was.
var errBusy = fmt.Errorf("%w: another record is on its way", engine.ErrAway)

// Pauses after errBusy.
const (
	minBusy     = time.Millisecond
	maxBusy     = 50 * time.Millisecond
	busyTimeout = time.Second // then the node is told
)

// send sends the record.
func (a *appending) send() {
	s := a.session
	if !s.keeper.up.Load() {
		a.done(engine.Place{}, engine.ErrAway)
		return
	}
	a.before = s.newest.Load()
	a.call = call{then: a.answered, append: true}
	e := envelopes.Get().(*envelope)
	e.data = encode(e.data[:0], a.after, a.batch, a.id)
	err := s.calls.start(&a.call, e.message(a.subject, a.after.Mark))
	if cap(e.data) <= mostReused {
		envelopes.Put(e)
	}
	if err != nil {
		a.end(0, err)
	}
}

// answered handles the answer. It sends the record as often as necessary to know whether the
// condition holds.
func (a *appending) answered() {
	if a.call.err != nil {
		a.end(0, a.call.err)
		return
	}
	mark, err := a.session.result(a.call.answers[0].Data)
	switch {
	case err == nil:
		a.end(mark, a.session.check(a.before, mark))
	case errors.Is(err, errBusy) && time.Now().Before(a.busyUntil):
		a.session.calls.tasks.Go(a.sendAgain)
	default:
		a.end(0, err)
	}
}

// sendAgain sends the record after a pause.
func (a *appending) sendAgain() {
	a.pause = min(max(2*a.pause, minBusy), maxBusy)
	select {
	case <-time.After(a.pause):
		a.send()
	case <-a.session.ctx.Done():
		a.end(0, errBusy)
	}
}

// end tells the node the result.
func (a *appending) end(mark uint64, err error) {
	if err != nil {
		a.session.suspect(err)
		a.done(engine.Place{}, err)
		return
	}
	seq := a.after.Seq + uint64(len(a.batch))
	a.done(engine.Place{Epoch: a.after.Epoch, Seq: seq, Mark: mark}, nil)
}

// An envelope is a message with a condition. The client copies what it sends, so that an envelope
// can be used again: most of what an append would allocate is its header.
type envelope struct {
	data      []byte
	condition [1]string // the value in the header
	m         nats.Msg
}

var envelopes = sync.Pool{New: func() any {
	e := new(envelope)
	e.m.Header = nats.Header{conditionHeader: e.condition[:]}
	return e
}}

// mostReused is the largest buffer that is kept for another message.
const mostReused = 16 << 10

// message returns a message with the data, to be stored if the last one of the subject has the mark
// after.
func (e *envelope) message(subject string, after uint64) *nats.Msg {
	e.condition[0] = strconv.FormatUint(after, 10)
	e.m.Subject, e.m.Data = subject, e.data
	return &e.m
}

// result returns what an answer of the stream says.
func (s *session) result(answer []byte) (mark uint64, err error) {
	if mark, ok := s.accepted(answer); ok {
		return mark, nil
	}
	return acknowledged(answer)
}

// accepted returns the sequence in the usual answer of the stream. Decoding JSON would cost a tenth
// of the CPU time of a message.
func (s *session) accepted(data []byte) (mark uint64, ok bool) {
	digits, ok := bytes.CutPrefix(data, s.acknowledgement)
	digits, closed := bytes.CutSuffix(digits, []byte{'}'})
	mark, err := strconv.ParseUint(string(digits), 10, 64)
	return mark, ok && closed && err == nil && mark > 0
}

// An acknowledgement is the answer of the stream.
type acknowledgement struct {
	Sequence uint64 `json:"seq"`
	Error    *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// acknowledged returns what any answer of the stream says.
func acknowledged(data []byte) (mark uint64, err error) {
	var a acknowledgement
	switch err := json.Unmarshal(data, &a); {
	case err != nil:
		return 0, err
	case a.Error != nil:
		return 0, fmt.Errorf("%w: %s (%d)", kindOf(a.Error.Code), a.Error.Description, a.Error.Code)
	case a.Sequence == 0:
		return 0, errors.New("an acknowledgement without a sequence")
	}
	return a.Sequence, nil
}

// errServer is an error of the server that does not say whether the record was stored.
var errServer = errors.New("error of the server")

// kindOf returns what an error of the server means.
func kindOf(code int) error {
	switch code {
	case 10071: // wrong last sequence
		return engine.ErrConflict
	case 10164: // wrong last sequence, of a subject that has a message on its way
		return errBusy
	case 10054, 10097, 10109: // message or header too large, stream sealed
		return engine.ErrRefused
	case 10002, 10008, 10023, 10028, 10039, 10047, 10076, 10118: // resources, not available
		return engine.ErrAway
	}
	return errServer
}

// impossible is a condition that never holds, because no stream reaches such a sequence.
const impossible = 1 << 62

// probe returns when the leader of the stream has answered. It then also knows what the session had
// subscribed to before: both go the same way.
func (s *session) probe(ctx context.Context) error {
	e := envelopes.New().(*envelope)
	answers, err := s.calls.ask(ctx, e.message(s.subject("p.probe"), impossible), false)
	if err == nil {
		_, err = s.result(answers[0].Data)
	}
	switch {
	case errors.Is(err, engine.ErrConflict):
		return nil
	case err == nil:
		return errors.New("the stream ignores conditions")
	}
	return err
}

// suspect tells the keeper about the error of a call if it may concern the stream.
func (s *session) suspect(err error) {
	if errors.Is(err, errNobody) {
		s.keeper.tell(doubt)
	}
}
