package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStylesAreTakenFromTheSequences(t *testing.T) {
	lines := parse("a\x1b[1;31mb\x1b[0mc\n\x1b[38;5;33md\x1b[48;2;1;2;3me\x1b[39;49mf\x1b[7m日本\x1b[m\n")
	var got []string
	for _, line := range lines {
		for _, p := range line {
			fore, back := p.colours()
			got = append(got, fmt.Sprint(p.text, p.cells, fore, back, p.attributes()))
		}
	}
	assert.Equal(t, []string{
		"a1" + foreground, `b1#800000 font-weight="bold"`, "c    5" + foreground,
		"d1#0087ff", "e1#0087ff#010203", "f1" + foreground, "日本4" + background + foreground,
	}, got)
	assert.Len(t, lines, 2)
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
