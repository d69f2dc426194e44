// Service is somebody else's program: it requires the library at a version, as any user does. The
// downstream check copies it to a folder of its own and gives it a go.mod.
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

// serve publishes the orders, shuts the broker down, and returns what the guests got until then.
func serve(ctx context.Context, orders ...string) (served []string, err error) {
	broker, err := broadcast.New[string](broadcast.WithBuffer(64))
	if err != nil {
		return nil, err
	}
	defer broker.Close()
	guests, err := broker.Subscribe("meals", "guests")
	if err != nil {
		return nil, err
	}
	kitchen, err := broker.Subscribe("orders", "kitchen")
	if err != nil {
		return nil, err
	}
	cooked := make(chan error, 1)
	go func() { cooked <- cook(ctx, broker, kitchen) }()
	for _, order := range orders {
		if err := broker.Publish(ctx, "orders", order); err != nil {
			return nil, err
		}
	}
	for len(served) < len(orders) {
		meal, err := guests.Next(ctx)
		if err != nil {
			return nil, err
		}
		served = append(served, meal.Message)
	}
	if err := broker.Shutdown(ctx); err != nil {
		return nil, err
	}
	return served, <-cooked
}

// cook makes a meal of each order, until there are no more because the broker has ended.
func cook(ctx context.Context, broker *broadcast.Broker[string], orders *broadcast.Subscriber[string]) error {
	for order := range orders.Messages(ctx) {
		if err := broker.Publish(ctx, "meals", "hot "+order); err != nil {
			return err
		}
	}
	return ctx.Err()
}
