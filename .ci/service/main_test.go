package main

import (
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKitchenServesEveryOrder(t *testing.T) {
	orders := []string{"soup", "bread", "tea"}
	served, err := serve(t.Context(), orders...)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(served, orders) {
		t.Fatalf("served %q, want %q", served, orders)
	}
}
