package reference_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// An op is one operation of a sequence: what to do, and numbers that choose to whom and how. Every
// list of them is valid, because numbers are taken modulo what there is to choose from: a list can
// be cut anywhere, mutated by the fuzzer, and pasted from a failure into a test.
type op struct {
	kind opKind
	args args
}

type args [10]byte

type opKind byte

const (
	opNew opKind = iota // the first one, and no other
	opPublish
	opTryNext
	opSubscribe
	opTryPublish
	opGoPublish
	opSleepToMoment
	opSleep
	opNext
	opBurst
	opAll
	opNextBatch
	opMessages
	opChan
	opCloseSubscriber
	opGoNext
	opCancel
	opReplay
	opEndUntil
	opComeAndGo
	opBadInput
	opShutdown
	opClose
	opHead
	opLast
	opKick
	opEndChat
	opForget
	opTryNextBatch
)

// operations says what the kinds of operations do, and how often they are chosen.
var operations = [...]struct {
	name    string
	weight  int  // in 256
	args    int  // how many numbers matter
	instant bool // it begins no wait that others could end at the same moment, and may be done at the very moment of an event
	do      func(m *model, o args)
}{
	opNew:             {"opNew", 0, 10, false, func(*model, args) {}},
	opPublish:         {"opPublish", 18, 2, false, (*model).opPublish},
	opTryNext:         {"opTryNext", 13, 1, true, (*model).opTryNext},
	opSubscribe:       {"opSubscribe", 25, 10, false, (*model).opSubscribe},
	opTryPublish:      {"opTryPublish", 18, 1, true, (*model).opTryPublish},
	opGoPublish:       {"opGoPublish", 18, 2, false, (*model).opGoPublish},
	opSleepToMoment:   {"opSleepToMoment", 12, 1, false, (*model).opSleepToMoment},
	opSleep:           {"opSleep", 10, 1, false, (*model).opSleep},
	opNext:            {"opNext", 12, 2, false, (*model).opNext},
	opBurst:           {"opBurst", 13, 2, false, (*model).opBurst},
	opAll:             {"opAll", 12, 5, false, (*model).opAll},
	opNextBatch:       {"opNextBatch", 12, 3, false, (*model).opNextBatch},
	opMessages:        {"opMessages", 12, 5, false, (*model).opMessages},
	opChan:            {"opChan", 13, 1, true, (*model).opChan},
	opCloseSubscriber: {"opCloseSubscriber", 10, 1, true, (*model).opCloseSubscriber},
	opGoNext:          {"opGoNext", 10, 2, false, (*model).opGoNext},
	opCancel:          {"opCancel", 7, 1, true, (*model).opCancel},
	opReplay:          {"opReplay", 7, 2, true, (*model).opReplay},
	opEndUntil:        {"opEndUntil", 6, 1, true, (*model).opEndUntil},
	opComeAndGo:       {"opComeAndGo", 4, 2, true, (*model).opComeAndGo},
	opBadInput:        {"opBadInput", 3, 3, false, (*model).opBadInput},
	opShutdown:        {"opShutdown", 1, 1, false, (*model).opShutdown},
	opClose:           {"opClose", 1, 0, true, (*model).opClose},
	opHead:            {"opHead", 3, 1, true, (*model).opHead},
	opLast:            {"opLast", 3, 1, true, (*model).opLast},
	opKick:            {"opKick", 3, 3, true, (*model).opKick},
	opEndChat:         {"opEndChat", 3, 2, true, (*model).opEndChat},
	opForget:          {"opForget", 2, 1, true, (*model).opForget},
	opTryNextBatch:    {"opTryNextBatch", 5, 2, false, (*model).opTryNextBatch},
}

// sequence is a list of operations, of which the first is opNew.
type sequence []op

// GoString prints a sequence so that it can be pasted into recorded.
func (ops sequence) GoString() string {
	var s strings.Builder
	s.WriteString("{\n")
	for _, o := range ops {
		fmt.Fprintf(&s, "\t{%s, args{%s}},\n", operations[o.kind].name, strings.Trim(fmt.Sprint(o.args[:operations[o.kind].args]), "[]"))
	}
	s.WriteString("},")
	return strings.NewReplacer(" ", ", ", ", args", ", args").Replace(s.String())
}

// sequences generates sequences of as many operations as -rapid.steps says, on average, in which
// subscriptions have these strategies.
func sequences(strategies []byte) *rapid.Generator[sequence] {
	arg := rapid.ByteRange(0, 15)
	strategy := rapid.SampledFrom(strategies)
	draw := func(t *rapid.T, kind opKind) op {
		o := op{kind: kind}
		for i := range operations[kind].args {
			if kind == opNew && i == newStrategy || kind == opSubscribe && i == subscribeStrategy {
				o.args[i] = strategy.Draw(t, "strategy")
			} else {
				o.args[i] = arg.Draw(t, "argument")
			}
		}
		return o
	}
	return rapid.Custom(func(t *rapid.T) sequence {
		ops := sequence{draw(t, opNew)}
		t.Repeat(map[string]func(*rapid.T){"operation": func(t *rapid.T) {
			ops = append(ops, draw(t, kinds.Draw(t, "kind")))
		}})
		return ops
	})
}

// kinds generates kinds of operations as often as their weights say. It draws a number bit by bit,
// because rapid prefers small numbers.
var kinds = rapid.Custom(func(t *rapid.T) opKind {
	n := 0
	for range 8 {
		n *= 2
		if rapid.Bool().Draw(t, "bit") {
			n++
		}
	}
	for kind, o := range operations {
		if n -= o.weight; n < 0 {
			return opKind(kind)
		}
	}
	return opTryNext // the weights are 256 in all, or a little less
})

// encode writes a sequence as bytes: each kind and the arguments that matter.
func (ops sequence) encode() (data []byte) {
	for _, o := range ops {
		data = append(data, byte(max(o.kind, 1)-1))
		data = append(data, o.args[:operations[o.kind].args]...)
	}
	return data
}

// decode reads a sequence from bytes. Every input is good for something; a long one is cut, because
// nothing new comes late.
func decode(data []byte) (ops sequence) {
	for len(data) > 0 && len(ops) < 200 {
		o := op{kind: opNew}
		if len(ops) > 0 {
			o.kind = opKind(1 + data[0]%byte(len(operations)-1))
		}
		n := copy(o.args[:operations[o.kind].args], data[1:])
		data = data[1+n:]
		ops = append(ops, o)
	}
	return ops
}

// What there is to choose from.
var (
	modelChats   = []string{"a", "b", "c"}
	mostlyChatA  = []string{"a", "a", "b", "a", "c", "a", "b", "a"}
	modelDevices = []string{"ann", "ben", "cem"}
	modelBuffers = []int{1, 2, 3, 4, 5, 8, 1, 2, 3, 4, 7, 8, 2, 32, 64, 32}
)

func choose[T any](from []T, by byte) T { return from[int(by)%len(from)] }

// lines joins what is to be printed.
func lines(s ...string) string {
	return strings.Join(slices.DeleteFunc(s, func(line string) bool { return line == "" }), "\n")
}
