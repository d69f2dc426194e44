// Service is somebody else's program: it requires the library at a version, as any user does. The downstream check
// copies it to a folder of its own and gives it a go.mod.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/fbd86cad/broadcast"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	served, err := serve(ctx, "soup", "bread", "tea")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("served:", served)
}

// serve publishes the orders, shuts the broker down, and returns what the kitchen read until then.
func serve(ctx context.Context, orders ...string) ([]string, error) {
	broker, err := broadcast.New[string](broadcast.WithBuffer(64))
	if err != nil {
		return nil, err
	}
	kitchen, err := broker.Subscribe("orders", "kitchen")
	if err != nil {
		return nil, err
	}
	for _, order := range orders {
		if err := broker.Publish(ctx, "orders", order); err != nil {
			return nil, err
		}
	}

	stopped := make(chan error, 1)
	go func() { stopped <- broker.Shutdown(ctx) }()
	var served []string
	for delivery := range kitchen.All(ctx) {
		served = append(served, delivery.Message)
	}
	return served, <-stopped
}
