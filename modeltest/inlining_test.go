package modeltest

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a reader and a publisher call for every message is inlined where a user's package
// instantiates the library; see inline.go there.
func TestHotMethodsAreInlinedInTheUsersPackage(t *testing.T) {
	command := exec.Command("go", "build", "-gcflags=-m", "-o", t.TempDir(), "./testdata/inlining")
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	for file, methods := range map[string][]string{
		"take.go": {
			"flow.(*Cursor).Load", "flow.Word.Position", "flow.Word.Slow", "presence.(*Follower).Behind",
			"numbering.(*Span).Left", "numbering.(*Span).Number", "numbering.(*Table).Epoch",
		},
		"reader.go":  {"flow.(*Cursor).Advance"},
		"iterate.go": {"flow.(*Cursor).Load", "flow.Word.Awaited", "flow.(*Cursor).Room"},
		"publish.go": {"flow.(*Gate).Open"},
		"parking.go": {"presence.(*State).Lot", "flow.(*Cursor).Position"},
	} {
		for _, method := range methods {
			inlined := regexp.MustCompile(`(?m)\b` + regexp.QuoteMeta(file) + `:[0-9:]+ inlining call to ` + regexp.QuoteMeta(method) + `$`)
			assert.True(t, inlined.Match(output), "%s is not inlined in %s", method, file)
		}
	}
}
