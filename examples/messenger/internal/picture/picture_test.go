package main

import (
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestThePictureIsTakenAndSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messenger.png")
	err := take(path)
	if errors.Is(err, browser.ErrMissing) {
		t.Skip(err)
	}
	require.NoError(t, err)
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	picture, err := png.Decode(file)
	require.NoError(t, err)
	assert.Equal(t, [2]int{width * scale, height * scale}, [2]int{picture.Bounds().Dx(), picture.Bounds().Dy()})
	colours := map[uint32]bool{}
	for x := range picture.Bounds().Dx() {
		for y := range picture.Bounds().Dy() {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[r>>8<<16|g>>8<<8|b>>8] = true
		}
	}
	assert.Greater(t, len(colours), 50, "there is nothing in it")
	info, err := file.Stat()
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(200<<10))
}

func TestWhatGoesWrongInATabEndsThePlay(t *testing.T) {
	b, err := browser.Start()
	if errors.Is(err, browser.ErrMissing) {
		t.Skip(err)
	}
	require.NoError(t, err)
	defer b.Close()
	_, err = play(b, "127.0.0.1:1")
	require.ErrorContains(t, err, "ERR_")
}
