package broadcastnats

import (
	"context"
	"encoding/json"
	"errors"
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
func (s *session) Heads(ctx context.Context, chats ...string) ([]engine.Place, error) {
	heads := make([]engine.Place, len(chats))
	for first := 0; first < len(chats); first += mostSubjects {
		end := min(first+mostSubjects, len(chats))
		if err := s.heads(ctx, chats[first:end], heads[first:end]); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

// heads asks for the heads of chats, until there is an answer for each that has one.
func (s *session) heads(ctx context.Context, chats []string, heads []engine.Place) error {
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
				heads[i] = s.record(m).Place
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

// Read implements [engine.Session].
func (s *session) Read(
	ctx context.Context, chat string, after engine.Place, most int,
) ([]engine.Record, error) {
	found, _, err := s.get(ctx, getRequest{Next: s.stored(chat), Sequence: after.Mark + 1, Batch: most})
	if err != nil {
		return nil, err
	}
	records := make([]engine.Record, len(found))
	for i, m := range found {
		records[i] = s.record(m)
	}
	return records, nil
}

// record returns the record that a stored message has.
func (s *session) record(m *nats.Msg) engine.Record {
	mark := markOf(m)
	s.see(mark)
	return decode(m.Data, mark)
}
