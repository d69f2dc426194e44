package browsertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
)

// axe returns the script of axe-core, or "" where npm is not installed, which brings it.
var axe = sync.OnceValues(func() (string, error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "axe")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	install := exec.Command("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, "axe-core@4.14.1")
	if out, err := install.CombinedOutput(); err != nil {
		return string(out), err
	}
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	return string(script), err
})

// Accessible checks what a tab shows with axe-core, and wants it to find nothing. Where npm is not
// installed it skips the test.
func Accessible(t testing.TB, tab *browser.Tab) {
	t.Helper()
	script, err := axe()
	require.NoError(t, err, script)
	if script == "" {
		t.Skip("npm is not installed, which brings axe-core")
	}
	browser.Value[bool](tab, script+"; axe.run().then(r => window.found = r.violations.map("+
		"v => `${v.impact} ${v.id}: ${v.help}: ${v.nodes.map(n => n.html).join(' ')}`)), true")
	tab.Until("window.found")
	require.Empty(t, browser.Value[[]string](tab, "window.found"))
	browser.Value[bool](tab, "delete window.found")
}

// EachLook calls visit with a tab as wide as on a phone and on a desktop, in light and in dark
// mode.
func EachLook(t testing.TB, tab *browser.Tab, visit func()) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(tab.Ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		require.NoError(t, err)
		for _, width := range []int64{360, 1200} {
			tab.Do(chromedp.EmulateViewport(width, 700))
			visit()
		}
	}
}
