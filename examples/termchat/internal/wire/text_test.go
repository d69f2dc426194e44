package wire

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast/examples/internal/names"
)

func TestWhatATerminalWouldObeyIsShownInstead(t *testing.T) {
	for _, row := range []struct{ name, text, shown string }{
		{"plain text", "Grüße, 世界 🙂", "Grüße, 世界 🙂"},
		{"emoji made of several", "👩\u200d🚀", "👩\u200d🚀"},
		{"colours", "\x1b[31mred\x1b[0m", "␛[31mred␛[0m"},
		{"the title of the window", "\x1b]0;owned\x07", "␛]0;owned␇"},
		{"a device control string", "\x1bPq\x1b\\", "␛Pq␛\\"},
		{"C1 controls, which some terminals obey", "\u009b31m\u009d0;x\u009c\u0085", "<U+009B>31m<U+009D>0;x<U+009C><U+0085>"},
		{"C1 as bare bytes", "a\x9b31m", "a\ufffd31m"},
		{"lines", "one\r\ntwo\vthree\f", "one␍␊two␋three␌"},
		{"separators of lines", "one\u2028two\u2029", "one<U+2028>two<U+2029>"},
		{"a tab", "a\tb", "a b"},
		{"backspace and delete", "a\bb\x7f", "a␈b␡"},
		{"the bell and the null", "\a\x00", "␇␀"},
		{"overrides of direction", "\u202egnp.exe\u202c", "<U+202E>gnp.exe<U+202C>"},
		{"isolates", "\u2066a\u2069", "<U+2066>a<U+2069>"},
		{"marks of direction", "\u200ea\u200f\u061c", "<U+200E>a<U+200F><U+061C>"},
		{"invisible characters", "a\u200bb\ufeff\u00ad", "a<U+200B>b<U+FEFF><U+00AD>"},
		{"tags", "a\U000e0041", "a<U+E0041>"},
		{"private use", "\ue000", "<U+E000>"},
		{"what is no character", "\ufdd0", "<U+FDD0>"},
		{"broken UTF-8", "a\xffb", "a\ufffdb"},
		{"a tower of marks", "a" + strings.Repeat("\u0301", 100), "a" + strings.Repeat("\u0301", maxMarks)},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.shown, Line(row.text))
			assert.Equal(t, Line(row.text), Line(Line(row.text)), "what is harmless stays as it is")
		})
	}
}

func TestNoCharacterAtAllIsAControlAfterwards(t *testing.T) {
	var all strings.Builder
	for r := rune(0); r <= utf8.MaxRune; r++ {
		all.WriteRune(r)
	}
	for _, shown := range Line(all.String()) {
		if shown < 0x20 || shown >= 0x7f && shown < 0xa0 || Hostile(shown) {
			t.Fatalf("%U is shown as it is", shown)
		}
	}
}

func FuzzALineIsHarmlessWhateverItIsMadeOf(f *testing.F) {
	f.Add("\x1b[2J\u202e\n")
	f.Fuzz(func(t *testing.T, text string) {
		line := Line(text)
		assert.True(t, utf8.ValidString(line))
		assert.False(t, strings.ContainsFunc(line, Hostile))
		assert.LessOrEqual(t, len(FileName(text)), MaxFile)
		assert.False(t, strings.ContainsAny(FileName(text), "/\\"))
	})
}

func TestNamesAreShortAndVisibleAndEndWhereTheySeemTo(t *testing.T) {
	for given, want := range map[string]string{
		"a": "a", "ann": "ann", "Ann Lee": "Ann Lee", "安娜": "安娜", "general-2": "general-2", "AC/DC": "AC/DC", "v1.2": "v1.2",
		" ann ": "ann", "a\u00a0b": "a b", "e\u0301ric": "éric", strings.Repeat("ü", names.Max): strings.Repeat("ü", names.Max),
	} {
		name, err := Name("name", given)
		assert.NoError(t, err, "%q", given)
		assert.Equal(t, want, name)
	}
	for name, why := range map[string]string{
		"":                                "name must be",
		strings.Repeat("a", names.Max+1):  "more than 40 characters",
		"\xff":                            "name must be",
		"a\nb":                            "name must be",
		"a\x1bb":                          "name must be",
		"a\u202eb":                        "name must be",
		"a\u200db":                        "name must be",
		"ann> ok. <bob":                   "must not have",
		"..":                              "must not have",
		"a" + strings.Repeat("\u0301", 9): "must not have",
	} {
		_, err := Name("name", name)
		assert.ErrorContains(t, err, why, "%q", name)
	}
}

func TestTextsAreNotEmptyAndNotTooLong(t *testing.T) {
	assert.NoError(t, CheckText("a"))
	assert.NoError(t, CheckText(strings.Repeat("a", MaxText)))
	assert.ErrorContains(t, CheckText(strings.Repeat("a", MaxText+1)), "4097 bytes")
	assert.ErrorContains(t, CheckText(" \t\n"), "empty")
	assert.ErrorContains(t, CheckText("\xff"), "UTF-8")
}

func TestTheNameOfAFileIsShownAndIsNoPath(t *testing.T) {
	for name, shown := range map[string]string{
		"report.pdf":            "report.pdf",
		"../../etc/passwd":      "passwd",
		`C:\windows\system.ini`: "system.ini",
		"/":                     "file",
		"..":                    "file",
		"":                      "file",
		" . ":                   "file",
		"\u200b\u3164.\u2800":   "file",
		"a\x00b":                "a␀b",
		"gnp\u202eexe.":         "gnp<U+202E>exe.",
		"\x1b]0;x\a":            "␛]0;x␇",
		"a\nb":                  "a␊b",
		"\xff.txt":              "\ufffd.txt",
	} {
		assert.Equal(t, shown, FileName(name), "%q", name)
	}
	long := FileName(strings.Repeat("ü", 300))
	assert.LessOrEqual(t, len(long), MaxFile)
	assert.True(t, utf8.ValidString(long))
}
