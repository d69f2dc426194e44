package broadcastnats

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// A purgeRequest asks the leader to remove the messages of a subject before a sequence.
type purgeRequest struct {
	Filter   string `json:"filter"`
	Sequence uint64 `json:"seq"`
}

// Purge implements [engine.Session]. A stream that has lost its memory goes on with sequences that
// are larger than all before, so what it stores then stays.
func (s *session) Purge(ctx context.Context, chat string, mark uint64) error {
	data, err := json.Marshal(purgeRequest{s.stored(chat), mark + 1})
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: "$JS.API.STREAM.PURGE." + s.options.Prefix, Data: data}
	answers, err := s.calls.ask(ctx, m, false)
	if err != nil {
		s.suspect(err)
		return err
	}
	var answer struct {
		Success bool `json:"success"`
		Error   *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(answers[0].Data, &answer); {
	case err != nil:
		return err
	case answer.Error != nil:
		return fmt.Errorf("%w: %s (%d)", errServer, answer.Error.Description, answer.Error.Code)
	case !answer.Success:
		return fmt.Errorf("%w: the purge has failed", errServer)
	}
	return nil
}
