package broadcast_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's program is Example word for word, but for its name and the output.
func TestTheProgramOfTheReadmeIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	examples, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	_, program, _ := strings.Cut(string(readme), "func main() {\n")
	program, _, _ = strings.Cut(program, "}\n```")
	_, example, _ := strings.Cut(string(examples), "func Example() {\n")
	example, _, _ = strings.Cut(example, "\t// Unordered output:")
	require.NotEmpty(t, program)
	require.Equal(t, example, program)
}
