package broadcastnats

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/engine"
)

// place is a place of which every number takes more than one byte.
var place = engine.Place{Epoch: 1 << 62, Seq: 1000, Mark: 1 << 50}

func TestARecordIsDecodedAsItWasEncoded(t *testing.T) {
	for _, batch := range [][][]byte{
		nil, {{}}, {[]byte("a")}, {[]byte("a"), {}, bytes.Repeat([]byte("b"), 1000)},
	} {
		data := encode(nil, place, batch, "id-1")
		got := decode(data, place.Mark+7)
		want := engine.Record{
			Place: engine.Place{
				Epoch: place.Epoch, Seq: place.Seq + uint64(len(batch)), Mark: place.Mark + 7,
			},
			Prev: place.Mark, ID: "id-1", Batch: batch,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v instead of %+v", got, want)
		}
		for i := range data {
			if got := decode(data[:i], 7); !reflect.DeepEqual(got, foreign) {
				t.Errorf("of %d of %d bytes: %+v", i, len(data), got)
			}
		}
		if got := decode(append(data, 0), 7); !reflect.DeepEqual(got, foreign) {
			t.Errorf("of a byte more: %+v", got)
		}
	}
}

// foreign is the record for a message at mark 7 that is none.
var foreign = engine.Record{Place: engine.Place{Epoch: 1, Mark: 7}}

func TestWhatIsNoRecordCountsAsTheOldestEpoch(t *testing.T) {
	for what, data := range map[string][]byte{
		"nothing":         nil,
		"text":            []byte("hello"),
		"a later version": append([]byte{version + 1}, encode(nil, place, nil, "id")[1:]...),
		"an epoch of 0":   encode(nil, engine.Place{Seq: 1, Mark: 1}, nil, "id"),
		"a number too large": encode(nil,
			engine.Place{Epoch: 1, Seq: 1<<64 - 1, Mark: 1}, [][]byte{{}}, "id",
		),
	} {
		if got := decode(data, 7); !reflect.DeepEqual(got, foreign) {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(nil, place, nil, ""))
	f.Add(encode(nil, place, [][]byte{[]byte("message"), {}}, "id-1"))
	f.Add([]byte{version, 1, 1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xf})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := decode(data, 7)
		if reflect.DeepEqual(r, foreign) {
			return
		}
		after := engine.Place{Epoch: r.Epoch, Seq: r.Seq - uint64(len(r.Batch)), Mark: r.Prev}
		again := decode(encode(nil, after, r.Batch, r.ID), 7)
		if !reflect.DeepEqual(again, r) {
			t.Errorf("%+v becomes %+v", r, again)
		}
	})
}

func TestTokensTellNamesApartAndFitIntoASubject(t *testing.T) {
	tokens := make(map[string]string)
	long := strings.Repeat("x", longestName)
	for _, name := range []string{
		"", "a", "A", "a.b", "*", ">", " ", "\x00", "\xff", long, long + "x", long + "y",
		strings.Repeat("x", 1<<20), string(encoding.AppendEncode(nil, []byte("a"))),
	} {
		k := string(appendToken(nil, name))
		if other, ok := tokens[k]; ok {
			t.Errorf("%q and %q have the token %s", name, other, k)
		}
		tokens[k] = name
		if strings.ContainsAny(k, ".*> \t\r\n") || len(k) > 2*longestName {
			t.Errorf("the token of %q is %q", name, k)
		}
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for _, o := range []Options{
		{URL: "foo bar"},
		{URL: "nats://ann:secret@localhost:port"},
		{URL: "localhost,nats://b:4222, c d"},
		{Prefix: "a.b"},
		{Prefix: "a b"},
		{Prefix: "*"},
		{Prefix: ">"},
		{Replicas: -1},
		{Replicas: 6},
		{Records: -1},
		{Prefix: strings.Repeat("x", 256)},
	} {
		e, err := New(o)
		if !errors.Is(err, broadcast.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("New(%+v) returned %+v, %v", o, e, err)
		}
	}
	for _, u := range []string{"localhost", "tls://ann:secret@[::1]:4222", "a:1, nats://b:2 ,wss://c/d,"} {
		if _, err := New(Options{URL: u}); err != nil {
			t.Errorf("URL %q: %v", u, err)
		}
	}
	e, err := New(Options{})
	if err != nil || e.options.Prefix != "broadcast" || e.options.Replicas != 1 || e.options.Records != 1000 {
		t.Errorf("New without options: %+v, %v", e, err)
	}
}
