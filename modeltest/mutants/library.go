package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// library is a private copy of the library's module, in which nothing is changed: what is planted,
// and what is left out, is laid over it at each build, so that the build cache has the rest.
type library struct {
	root string
	temp string // for what is built

	// Set by sound.

	together *together
	binaries map[pkg]string // of the tests of each package, with these faults
}

// findRoot returns the folder of the library's module, which is that of the working directory or
// one above it.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		text, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
		if bytes.Contains(text, []byte("module github.com/fbd86cad/broadcast\n")) {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("not called inside of the repository of the library")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// laws is the module of the command that counts the library's work, and where in it that is. The
// library is built with coverage counters for it, which takes no overlay.
const laws = "modeltest/laws"

// sockets is a module that is copied whole.
const sockets = "broadcastws"

// copyLibrary copies the module at root to a folder in temp: without hidden folders, and without
// the modules inside of it but for sockets and what laws needs.
func copyLibrary(root, temp string) (*library, error) {
	l := &library{root: filepath.Join(temp, "library"), temp: temp, binaries: make(map[pkg]string)}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		target := filepath.Join(l.root, relative)
		switch {
		case entry.IsDir() && (relative == path.Dir(laws) || relative == filepath.FromSlash(laws)):
			return os.Mkdir(target, 0o755)
		case entry.IsDir() && strings.HasPrefix(filepath.ToSlash(relative), path.Dir(laws)+"/"):
			return filepath.SkipDir
		case entry.IsDir():
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			isOther := err == nil && relative != "." && relative != sockets
			if isOther || relative != "." && strings.HasPrefix(entry.Name(), ".") {
				return filepath.SkipDir
			}
			return os.Mkdir(target, 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	})
	return l, err
}

// build makes a test binary of a package from its files that some of its tests need, with the
// changed files laid over. It is alone in its folder. All packages are compiled with the same flags:
// each that instantiates a generic function compiles it, and the linker keeps only one of these, so
// a caller that was compiled without inlining must not meet a function that was inlined.
func (l *library) build(ctx context.Context, p pkg, names []string, changed map[string]string) (binary string, err error) {
	work, err := os.MkdirTemp(l.temp, "build")
	if err != nil {
		return "", err
	}
	if p.dir == laws {
		if l, err = l.planted(work, changed); err != nil {
			return "", err
		}
		changed = nil
	}
	unneeded, err := unneededFiles(filepath.Join(l.root, p.dir), names)
	if err != nil {
		return "", err
	}
	replace := make(map[string]string) // in the overlay of the go command an empty name deletes
	for _, file := range unneeded {
		replace[file] = ""
	}
	for file, text := range changed {
		planted := filepath.Join(work, fmt.Sprint(len(replace))+".go")
		if err := os.WriteFile(planted, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(l.root, file)] = planted
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlayFile := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o644); err != nil {
		return "", err
	}
	binary = filepath.Join(work, "tests")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay="+overlayFile,
		"-race="+strconv.FormatBool(p.race), "-o", binary, ".")
	cmd.Dir = filepath.Join(l.root, p.dir)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile: %w\n%s", err, output)
	}
	return binary, nil
}

// planted returns another copy of the library, in a folder, in which files are changed.
func (l *library) planted(folder string, changed map[string]string) (*library, error) {
	planted, err := copyLibrary(l.root, folder)
	if err != nil {
		return nil, err
	}
	for file, text := range changed {
		if err := os.WriteFile(filepath.Join(planted.root, file), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return planted, nil
}

// run runs tests, with the fault of a number or none, and reports whether they passed within the
// limit. The error is for tests that could not even be started.
func (l *library) run(ctx context.Context, binary, dir string, number int, names []string, limit time.Duration,
) (passed bool, output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit+5*time.Second) // if it does not even end itself
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.short", "-test.failfast", "-test.timeout="+limit.String(),
		"-test.run=^("+strings.Join(names, "|")+")$")
	cmd.Dir = filepath.Join(l.root, dir)
	if dir == laws {
		cmd.Dir = filepath.Join(filepath.Dir(binary), "library", dir)
	}
	cmd.Env = append(os.Environ(), "GOWORK=off", fmt.Sprint(plantedFault, "=", number))
	cmd.WaitDelay = time.Second // for what it has started itself
	text, err := cmd.CombinedOutput()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		return false, string(text), nil
	}
	return err == nil, string(text), err
}
