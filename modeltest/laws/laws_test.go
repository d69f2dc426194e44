package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestEveryCallKeepsItsLawAndTheDocsHaveTheTable(t *testing.T) {
	command := exec.Command("go", "run", ".")
	command.Stderr = t.Output()
	table, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), "\n\n"+string(table)+"\n") {
		t.Errorf("docs/performance.md must have this table:\n%s", table)
	}
}
