package broadcastnats

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/fbd86cad/broadcast/engine"
)

// testSession returns a session without a connection.
func testSession() *session { return newSession(Options{Prefix: "name"}, nil) }

func TestAnAcknowledgementSaysWhetherTheRecordWasStored(t *testing.T) {
	s := testSession()
	for answer, want := range map[string]uint64{
		`{"stream":"name","seq":17}`:                   17,
		`{"stream":"name", "seq":17}`:                  17,
		`{"stream":"name","domain":"d","seq":17}`:      17,
		`{"stream":"name","seq":17,"duplicate":true}`:  17,
		`{"stream":"name","seq":18446744073709551615}`: 1<<64 - 1,
		`{"seq":17,"stream":"name"}`:                   17,
		`{"stream":"name","seq":18446744073709551616}`: 0,
		`{"stream":"name","seq":}`:                     0,
		`{"stream":"name","seq":1`:                     0,
		`{"stream":"name","seq":0}`:                    0,
		`{"stream":"name"}`:                            0,
		`{"error":{"code":500,"err_code":1},"seq":0}`:  0,
		`{"error":{"code":500,"err_code":1},"seq":17}`: 0,
		``: 0,
	} {
		mark, err := s.result([]byte(answer))
		if mark != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %d, %v", answer, mark, err)
		}
		if kind := kindOfError(err); kind != nil {
			t.Errorf("%s: %v", answer, kind)
		}
	}
}

// kindOfError returns the error of package cluster that err is, if any.
func kindOfError(err error) error {
	for _, kind := range []error{engine.ErrConflict, engine.ErrAway, engine.ErrRefused} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

func TestErrorsOfTheServerSayWhetherTheRecordMayBeStored(t *testing.T) {
	for code, want := range map[string]error{
		"10071": engine.ErrConflict,
		"10054": engine.ErrRefused,
		"10023": engine.ErrAway,
		"10164": engine.ErrAway,
		"10077": nil, // the message may be stored on other servers
		"12345": nil,
	} {
		_, err := testSession().result([]byte(`{"error":{"code":400,"err_code":` + code + `,"description":"why"}}`))
		if err == nil || kindOfError(err) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestAMarkBelowOneSeenBeforeProvesThatMemoryWasLost(t *testing.T) {
	s := testSession()
	if err := s.check(0, 100); err != nil || s.newest.Load() != 100 {
		t.Fatalf("the first mark: %v, newest %d", err, s.newest.Load())
	}
	if err := s.check(100, 101); err != nil || s.keeper.take() != none {
		t.Fatalf("the next mark: %v", err)
	}
	for _, mark := range []uint64{50, 101} {
		err := s.check(101, mark)
		if !errors.Is(err, errForgotten) || kindOfError(err) != nil || s.keeper.take() != doubt {
			t.Errorf("mark %d after 101: %v", mark, err)
		}
		if s.newest.Load() != 101 || s.forgotten.Load() != 101 {
			t.Errorf("newest %d, forgotten %d", s.newest.Load(), s.forgotten.Load())
		}
	}
}

func TestAMessageWithAnImpossibleMarkIsNoRecord(t *testing.T) {
	for value, want := range map[string]uint64{
		"": 0, "x": 0, "0": 0, "17": 17,
		"4611686018427387903": impossible - 1, "4611686018427387904": 0, "18446744073709551615": 0,
	} {
		m := &nats.Msg{Header: nats.Header{sequenceHeader: {"5", value}}}
		if mark := markOf(m); mark != want {
			t.Errorf("%s: %d", value, mark)
		}
	}
	if mark := markOf(new(nats.Msg)); mark != 0 {
		t.Errorf("no header: %d", mark)
	}
}

func TestReasonsIncludeSmallerOnes(t *testing.T) {
	k := &testSession().keeper
	for _, r := range []reason{drop, cut, doubt} {
		k.tell(r)
	}
	if len(k.wake) != 1 {
		t.Error("nobody is woken")
	}
	if r := k.take(); r != cut {
		t.Errorf("%d", r)
	}
	if r := k.take(); r != none {
		t.Errorf("%d", r)
	}
}

// Two reasons at once would else be a look for each: the second one without a reason, and with Up.
func TestWhoeverTakesAReasonIsNotWokenForItAgain(t *testing.T) {
	k := &testSession().keeper
	k.tell(cut)
	<-k.wake // the keeper is about to take the reason
	k.tell(cut)
	if r := k.take(); r != cut || len(k.wake) != 0 {
		t.Errorf("reason %d, %d tokens", r, len(k.wake))
	}
}
