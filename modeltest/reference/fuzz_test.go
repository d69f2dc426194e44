package reference_test

import (
	"slices"
	"testing"
)

// FuzzBroker lets the fuzzer write the operations that TestOperationsMatchTheReferenceBroker rolls dice for: five bytes each. Call it with
// -fuzzminimizetime 1x: which code a sequence reaches depends a little on the scheduler, so that minimizing what is interesting never ends.
func FuzzBroker(f *testing.F) {
	for _, ops := range recorded {
		f.Add(encodeOperations(ops))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ops := decodeOperations(data)
		if len(ops) == 0 {
			return
		}
		if failure := runOperations(t, ops); failure != "" {
			t.Fatalf("%s\n%s", ops.GoString(), failure)
		}
	})
}

func encodeOperations(ops sequence) (data []byte) {
	for _, o := range ops {
		data = append(data, byte(o.kind), o.a, o.b, o.c, o.d)
	}
	return data
}

// decodeOperations reads operations from bytes. Every input is good for something; a long one is cut, because nothing new comes late.
func decodeOperations(data []byte) (ops sequence) {
	for b := range slices.Chunk(data, 5) {
		if len(b) < 5 || len(ops) == 200 {
			break
		}
		ops = append(ops, op{opKind(b[0]) % opKind(len(operations)), b[1], b[2], b[3], b[4]})
	}
	return ops
}
