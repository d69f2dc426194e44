package broadcastnats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/fbd86cad/broadcast/engine"
)

// Limits of one request for stored messages.
const (
	mostSubjects = 1000    // the server allows 1024
	mostBytes    = 4 << 20 // the server sends one message more
)

// errGap is the error of a call of which not all answers have come.
var errGap = errors.New("an answer is missing")

// errUnreadable is the error of a call of which an answer has headers that the client cannot read:
// whoever has stored the message broke their syntax. The client hides those of the server too.
var errUnreadable = errors.New("a stored message has malformed headers")

// A getRequest asks any server that has the stream for stored messages: either for the last one of
// each subject, or for those of one subject from a sequence on.
type getRequest struct {
	Last     []string `json:"multi_last,omitempty"`
	Next     string   `json:"next_by_subj,omitempty"`
	Sequence uint64   `json:"seq,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes"`
}

// get returns stored messages in the order of their sequences, and how many are left.
func (s *session) get(ctx context.Context, r getRequest) (found []*nats.Msg, left int, err error) {
	r.MaxBytes = mostBytes
	data, err := json.Marshal(r)
	if err != nil {
		return nil, 0, err
	}
	m := &nats.Msg{Subject: "$JS.API.DIRECT.GET." + s.options.Prefix, Data: data}
	answers, err := s.calls.ask(ctx, m, true)
	if err != nil || len(answers) == 0 {
		s.suspect(err)
		return nil, 0, err
	}
	var last uint64
	for _, a := range answers {
		if a.Header == nil {
			return nil, 0, errUnreadable
		}
		if header(a, "Nats-Last-Sequence") != strconv.FormatUint(last, 10) {
			return nil, 0, errGap
		}
		last = markOf(a)
	}
	end := len(answers) - 1
	left, err = strconv.Atoi(header(answers[end], "Nats-Num-Pending"))
	return answers[:end], left, err
}

// Heads implements [engine.Session].
func (s *session) Heads(ctx context.Context, chats ...string) ([]engine.Record, error) {
	heads := make([]engine.Record, len(chats))
	for first := 0; first < len(chats); first += mostSubjects {
		end := min(first+mostSubjects, len(chats))
		if err := s.heads(ctx, chats[first:end], heads[first:end]); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

// heads asks for the heads of chats. If one cannot be read, it asks for fewer, until it has found
// that one.
func (s *session) heads(ctx context.Context, chats []string, heads []engine.Record) error {
	err := s.headsAtOnce(ctx, chats, heads)
	if !errors.Is(err, errUnreadable) {
		return err
	}
	if len(chats) == 1 {
		r, err := s.getOne(ctx, getOneRequest{Last: s.stored(chats[0])})
		heads[0] = headOf(r)
		return err
	}
	half := len(chats) / 2
	if err := s.heads(ctx, chats[:half], heads[:half]); err != nil {
		return err
	}
	return s.heads(ctx, chats[half:], heads[half:])
}

// headsAtOnce asks for the heads of chats, until there is an answer for each that has one.
func (s *session) headsAtOnce(ctx context.Context, chats []string, heads []engine.Record) error {
	subjects := make([]string, len(chats))
	indexes := make(map[string]int, len(chats))
	for i, chat := range chats {
		subjects[i] = s.stored(chat)
		indexes[subjects[i]] = i
	}
	for {
		found, left, err := s.get(ctx, getRequest{Last: subjects})
		if err != nil {
			return err
		}
		for _, m := range found {
			subject := header(m, "Nats-Subject")
			if i, ok := indexes[subject]; ok {
				heads[i] = headOf(s.record(m))
				delete(indexes, subject)
			}
		}
		if left == 0 || len(found) == 0 || len(indexes) == 0 {
			return nil
		}
		subjects = subjects[:0]
		for subject := range indexes {
			subjects = append(subjects, subject)
		}
	}
}

// headOf returns what Heads tells of a record.
func headOf(r engine.Record) engine.Record { return engine.Record{Place: r.Place, ID: r.ID} }

// Read implements [engine.Session].
func (s *session) Read(
	ctx context.Context, chat string, after engine.Place, most int,
) ([]engine.Record, error) {
	next := getRequest{Next: s.stored(chat), Sequence: after.Mark + 1, Batch: most}
	found, _, err := s.get(ctx, next)
	for errors.Is(err, errUnreadable) && next.Batch > 1 {
		next.Batch /= 2
		found, _, err = s.get(ctx, next)
	}
	if errors.Is(err, errUnreadable) {
		r, err := s.getOne(ctx, getOneRequest{Next: next.Next, Sequence: next.Sequence})
		if err != nil || r.Mark == 0 {
			return nil, err
		}
		return []engine.Record{r}, nil
	}
	if err != nil {
		return nil, err
	}
	records := make([]engine.Record, len(found))
	for i, m := range found {
		records[i] = s.record(m)
	}
	return records, nil
}

// A getOneRequest asks the leader for one stored message: the last one of a subject, or the next
// one from a sequence on. The headers are not those of the answer, so they need not be readable.
type getOneRequest struct {
	Last     string `json:"last_by_subj,omitempty"`
	Next     string `json:"next_by_subj,omitempty"`
	Sequence uint64 `json:"seq,omitempty"`
}

// getOne returns the record that a stored message has, or the zero Record if there is no message.
func (s *session) getOne(ctx context.Context, r getOneRequest) (engine.Record, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return engine.Record{}, err
	}
	m := &nats.Msg{Subject: "$JS.API.STREAM.MSG.GET." + s.options.Prefix, Data: data}
	answers, err := s.calls.ask(ctx, m, false)
	if err != nil {
		s.suspect(err)
		return engine.Record{}, err
	}
	var answer struct {
		Message struct {
			Sequence uint64 `json:"seq"`
			Data     []byte `json:"data"`
		} `json:"message"`
		Error *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(answers[0].Data, &answer); {
	case err != nil:
		return engine.Record{}, err
	case answer.Error != nil && answer.Error.Code == 10037: // no message found
		return engine.Record{}, nil
	case answer.Error != nil:
		e := answer.Error
		return engine.Record{}, fmt.Errorf("%w: %s (%d)", errServer, e.Description, e.Code)
	}
	s.see(answer.Message.Sequence)
	return decode(answer.Message.Data, answer.Message.Sequence), nil
}

// record returns the record that a stored message has.
func (s *session) record(m *nats.Msg) engine.Record {
	mark := markOf(m)
	s.see(mark)
	return decode(m.Data, mark)
}
