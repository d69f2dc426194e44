// Command inlining uses a broker, so that the compiler instantiates it here.
package main

import (
	"context"

	"github.com/fbd86cad/broadcast"
)

func main() {
	b, _ := broadcast.New[int]()
	s, _ := b.Subscribe("chat", "device")
	_ = b.Publish(context.Background(), "chat", 1)
	for range s.Messages(context.Background()) {
	}
}
