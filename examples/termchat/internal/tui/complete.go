package tui

import "strings"

// complete completes the word before the cursor as far as it is unambiguous: the name of a command,
// the identifier of a shared file, or the name of somebody who is here.
func (m *model) complete() {
	line := m.input.Value()
	if m.input.Position() != len([]rune(line)) {
		return
	}
	start := strings.LastIndexByte(line, ' ') + 1
	head, word := line[:start], line[start:]
	if longer := common(m.candidates(head), word); longer != "" {
		m.replace(head + longer)
	}
}

// candidates returns what a word after head may be, each with the text that follows it.
func (m *model) candidates(head string) (words []string) {
	switch {
	case head == "":
		for _, c := range commands() {
			words = append(words, "/"+c.name+" ")
		}
		for _, name := range m.members {
			words = append(words, name+": ")
		}
	case head == "/download ":
		for _, f := range m.files {
			words = append(words, f.ID+" ")
		}
	case !strings.HasPrefix(head, "/"):
		for _, name := range m.members {
			words = append(words, name+" ")
		}
	}
	return words
}

// common returns the longest common beginning of all words that begin with prefix, or "" if there
// is no such word or prefix is empty.
func common(words []string, prefix string) string {
	longest, found := "", false
	for _, word := range words {
		switch {
		case prefix == "" || !strings.HasPrefix(word, prefix):
		case !found:
			longest, found = word, true
		default:
			longest = beginning(longest, word)
		}
	}
	return longest
}

// beginning returns the common beginning of two words, in whole characters.
func beginning(a, b string) string {
	for i, r := range a {
		if !strings.HasPrefix(b[min(i, len(b)):], string(r)) {
			return a[:i]
		}
	}
	return a
}
