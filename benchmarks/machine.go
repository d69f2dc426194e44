package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// machine is where figures come from.
type machine struct {
	processor string
	commit    string
}

func describeMachine(ctx context.Context) machine { return machine{processor(), commit(ctx)} }

func (m machine) lines() []string {
	return []string{
		fmt.Sprintf("%s, %d processors used, %s/%s", m.processor, runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH),
		runtime.Version(),
		"commit " + m.commit,
	}
}

// processor returns the name of the processor, where the system tells it.
func processor() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// commit returns what was measured, as git tells it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
