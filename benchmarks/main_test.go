package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		socketProgram.Remove()
		os.Exit(code)
	}))
}

// glimpse is the plan for tests: as little as possible.
var glimpse = Plan{Reps: 2, Sample: 1, Cap: 1, Short: true}

func TestOnlyWhatMatchesIsSelected(t *testing.T) {
	selected := selection(workloads(), full, regexp.MustCompile(`^rounds/readers=10{2,3}/`))
	require.Len(t, selected, 1)
	var cases []string
	for _, c := range selected[0].Cases {
		cases = append(cases, c.Name)
	}
	assert.Equal(t, []string{"readers=100/burst=64", "readers=1000/burst=64"}, cases)
}

func TestShortLeavesTheLargestCasesOut(t *testing.T) {
	large := func(plan Plan) (n int) {
		for _, w := range selection(workloads(), plan, regexp.MustCompile("")) {
			for _, c := range w.Cases {
				if c.Large {
					n++
				}
			}
		}
		return n
	}
	assert.Zero(t, large(brief))
	assert.Positive(t, large(full))
}

func TestWorkloadsAreComplete(t *testing.T) {
	seen := make(map[string]bool)
	for _, w := range workloads() {
		assert.Regexp(t, `^[a-z0-9-]+$`, w.Name)
		assert.NotEmpty(t, w.Title, w.Name)
		assert.NotEmpty(t, w.Work, w.Name)
		assert.NotEmpty(t, w.NotShown, w.Name)
		assert.NotEmpty(t, w.Metrics, w.Name)
		for _, c := range w.Cases {
			assert.Regexp(t, `^[a-zA-Z-]+=[^/=]+(/[a-zA-Z-]+=[^/=]+)*$`, c.Name, w.Name)
			assert.Falsef(t, seen[w.Name+"/"+c.Name], "%s/%s is there twice", w.Name, c.Name)
			seen[w.Name+"/"+c.Name] = true
			names := make(map[string]bool)
			for _, who := range c.Contestants {
				assert.Falsef(t, names[who.Name], "%s/%s: %s competes twice", w.Name, c.Name, who.Name)
				names[who.Name] = true
			}
		}
	}
}
