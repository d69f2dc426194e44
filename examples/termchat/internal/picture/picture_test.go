package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLooksAreTakenFromTheSequences(t *testing.T) {
	lines := parse("a\x1b[1;31mb\x1b[0mc\n\x1b[38;5;33md\x1b[48;2;1;2;3me\x1b[39;49mf\x1b[7m日本\x1b[m\n")
	red, blue := basic[1], "#0087ff"
	assert.Equal(t, [][]piece{
		{{look{}, "a", 1}, {look{fore: red, bold: true}, "b", 1}, {look{}, "c", 1}},
		{{look{fore: blue}, "d", 1}, {look{fore: blue, back: "#010203"}, "e", 1}, {look{}, "f", 1}, {look{reverse: true}, "日本", 4}},
	}, lines)
}

func TestColoursAreThoseOfTheCubeAndTheGreys(t *testing.T) {
	for n, want := range map[int]string{16: "#000000", 21: "#0000ff", 231: "#ffffff", 232: "#080808", 255: "#eeeeee", 256: "", -1: ""} {
		assert.Equal(t, want, indexed(n), n)
	}
}

func TestBrokenSequencesDoNotPanic(t *testing.T) {
	for _, s := range []string{"\x1b[", "\x1b[38m", "\x1b[38;5m", "\x1b[48;2;1m", "\x1b[38;5;999mx", "\x1b[;;m", ""} {
		draw(parse(s), "")
	}
}

func TestThePictureIsWellFormed(t *testing.T) {
	svg := draw(parse("\x1b[2;3;4m<&> │ █░ \x1b[0m'\""), "a <title>")
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	assert.Contains(t, svg, "&lt;&amp;&gt;")
}
