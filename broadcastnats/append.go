package broadcastnats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fbd86cad/broadcast/internal/cluster"
)

// conditionHeader makes the server store a message only if the last one of its subject has this
// sequence.
const conditionHeader = "Nats-Expected-Last-Subject-Sequence"

// Append implements [cluster.Session].
func (s *session) Append(
	ctx context.Context, chat string, after cluster.Place, batch [][]byte, id string,
) (cluster.Place, error) {
	if !s.keeper.up.Load() {
		return cluster.Place{}, cluster.ErrAway
	}
	before := s.newest.Load()
	mark, err := s.store(ctx, s.stored(chat), after.Mark, encode(after, batch, id))
	if err == nil {
		err = s.check(before, mark)
	}
	if err != nil {
		s.suspect(err)
		return cluster.Place{}, err
	}
	return cluster.Place{Epoch: after.Epoch, Seq: after.Seq + uint64(len(batch)), Mark: mark}, nil
}

// errBusy is the error of the leader while another message is on its way to the same subject. It
// does not know yet whether that one will be stored, or has not noticed yet that it was.
var errBusy = fmt.Errorf("%w: another record is on its way", cluster.ErrAway)

// Pauses after errBusy.
const (
	minBusy = time.Millisecond
	maxBusy = 50 * time.Millisecond
)

// store is publish, as often as necessary to know whether the condition holds.
func (s *session) store(
	ctx context.Context, subject string, after uint64, data []byte,
) (mark uint64, err error) {
	for pause := minBusy; ; pause = min(2*pause, maxBusy) {
		mark, err := s.publish(ctx, subject, after, data)
		if !errors.Is(err, errBusy) {
			return mark, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, err
		}
	}
}

// publish stores a message, if the last one of the subject has the mark after.
func (s *session) publish(
	ctx context.Context, subject string, after uint64, data []byte,
) (mark uint64, err error) {
	condition := []string{strconv.FormatUint(after, 10)}
	m := &nats.Msg{Subject: subject, Header: nats.Header{conditionHeader: condition}, Data: data}
	answers, err := s.calls.ask(ctx, m, false)
	if err != nil {
		return 0, err
	}
	return s.result(answers[0].Data)
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
		return cluster.ErrConflict
	case 10164: // wrong last sequence, of a subject that has a message on its way
		return errBusy
	case 10054, 10097, 10109: // message or header too large, stream sealed
		return cluster.ErrRefused
	case 10002, 10008, 10023, 10028, 10039, 10047, 10076, 10118: // resources, not available
		return cluster.ErrAway
	}
	return errServer
}

// impossible is a condition that never holds, because no stream reaches such a sequence.
const impossible = 1 << 62

// probe returns when the leader of the stream has answered. It then also knows what the session had
// subscribed to before: both go the same way.
func (s *session) probe(ctx context.Context) error {
	_, err := s.publish(ctx, s.subject("p.probe"), impossible, nil)
	switch {
	case errors.Is(err, cluster.ErrConflict):
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
