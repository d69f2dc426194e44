package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// invented is a result with known figures.
func invented() *Result {
	w := &Workload{
		Name: "invented", Title: "Invented <work>", Work: "Nothing is done.", NotShown: "everything.",
		Metrics: []Metric{{Name: "ns"}}, Axis: "readers",
		Cases: []Case{{Name: "readers=10", X: 10}, {Name: "readers=100", X: 100}},
		Targets: []Target{
			atLeast("10 readers: best library / ours", 3, bestLibraryOverOurs("readers=10")),
			atMost("100 readers: ours / raw", 2, inverse(rawOverOurs("readers=100"))),
			atMost("not measured", 2, of("readers=10000", peers.NameOurs, "ns")),
		},
	}
	for i := range w.Cases {
		w.Cases[i].Contestants = []Contestant{
			{Name: peers.NameOurs},
			{Name: peers.NameRaw, Kind: peers.Floor},
			{Name: "slow", Kind: peers.Library},
			{Name: "fast", Kind: peers.Library},
			{Name: "absent", Skip: "it has a cold"},
		}
	}
	r := newResult(w)
	for rep, drift := range []float64{1, 2, 10} { // the machine gets slower and slower
		for _, c := range w.Cases {
			for name, ns := range map[string]float64{peers.NameOurs: 10, peers.NameRaw: 4, "slow": 90, "fast": 40} {
				r.add(c.Name, name, rep, Sample{"ns": ns * drift})
			}
		}
	}
	return r
}

func TestMediansAndRatios(t *testing.T) {
	r := invented()
	m, ok := r.Median("readers=10", peers.NameOurs, "ns")
	assert.True(t, ok)
	assert.InDelta(t, 20, m, 0)
	ratio, ok := r.Ratio(turns{"readers=10", "fast"}, turns{"readers=10", peers.NameOurs}, "ns")
	assert.True(t, ok)
	assert.InDelta(t, 4, ratio, 0, "both had the same machine in each repetition")
	_, ok = r.Median("readers=10", "absent", "ns")
	assert.False(t, ok)
	best, ok := r.best("readers=10", peers.Library, "ns")
	assert.True(t, ok)
	assert.Equal(t, "fast", best)
	assert.InDelta(t, 4.5, r.Spread("readers=10", "fast", "ns"), 0)
}

func TestTheReportHasFiguresTargetsAndWhoWasLeftOut(t *testing.T) {
	text := report{command: "the command", began: time.Unix(0, 0), results: []*Result{invented()}}.markdown(true)
	for _, want := range []string{
		"the command", "| readers=10  | 20        | 8 (0.4×)     | 180 (9×) | 80 (4×) |", "Left out: absent (it has a cold).", "Not shown: everything.",
		"![Invented <work>](invented.svg)",
		"| invented | 10 readers: best library / ours | ≥ 3    | 4        | ✓ |",
		"| invented | 100 readers: ours / raw         | ≤ 2    | 2.5      | ✗ |",
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, "not measured")
	assert.NotContains(t, text, "Failures")
}

func TestTheReportNamesFailures(t *testing.T) {
	r := invented()
	r.Failures = append(r.Failures, Failure{"readers=10", "fast", errors.New("lost one")})
	text := report{results: []*Result{r}}.markdown(false)
	assert.Contains(t, text, "- invented/readers=10, fast: lost one")
	assert.Contains(t, text, "FAILED", "instead of a figure")
}

func TestTheReportIsWrittenWithItsCharts(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	require.NoError(t, report{results: []*Result{invented()}}.write(folder))
	text, err := os.ReadFile(filepath.Join(folder, "results.md"))
	require.NoError(t, err)
	assert.Contains(t, string(text), "](invented.svg)")
	drawn, err := os.ReadFile(filepath.Join(folder, "invented.svg"))
	require.NoError(t, err)
	requireXML(t, string(drawn))
}

func requireXML(t *testing.T, text string) {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestAChartHasALineForEachContestant(t *testing.T) {
	drawn := drawing(invented()).svg()
	requireXML(t, drawn)
	assert.Equal(t, 4, strings.Count(drawn, "<polyline"))
	assert.Equal(t, 8, strings.Count(drawn, "<circle"))
	assert.NotContains(t, drawn, "NaN")
}

func TestAChartHasBarsIfPlacesAreNoNumbers(t *testing.T) {
	r := invented()
	r.Workload.Cases[0].X = 0
	drawn := drawing(r).svg()
	requireXML(t, drawn)
	assert.NotContains(t, drawn, "<polyline")
	assert.Equal(t, 1+8+4, strings.Count(drawn, "<rect"), "the page, the bars, the legend")
}

func TestAnEmptyChartIsDrawn(t *testing.T) {
	w := *invented().Workload
	requireXML(t, drawing(newResult(&w)).svg())
}

func TestFiguresHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0049: "0.005", 0.5: "0.5", 9.999: "10", 3.14159: "3.14", 42.42: "42.4", 100.4: "100", 12_345: "12345", 4_180_000: "4.18 M",
	} {
		assert.Equal(t, want, figure(v))
	}
}
