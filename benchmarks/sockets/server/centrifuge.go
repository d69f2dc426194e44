package main

import (
	"context"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

// centrifugeNode is a node of centrifuge with its JSON protocol and its memory engine. A client is
// subscribed when it has said that it connects. All messages that wait for one may be in a frame,
// and none is lost: the queues are large enough.
func centrifugeNode() (http.Handler, func(int64) error, error) {
	const channel = "chat"
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 64 << 20})
	if err != nil {
		return nil, nil, err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:        &centrifuge.Credentials{},
			Subscriptions:      map[string]centrifuge.SubscribeOptions{channel: {}},
			MaxMessagesInFrame: -1,
		}, nil
	})
	if err := node.Run(); err != nil {
		return nil, nil, err
	}
	watch := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize: 1024, UseWriteBufferPool: true, WriteTimeout: 10 * time.Second,
	})
	publish := func(number int64) error {
		_, err := node.Publish(channel, message(number))
		return err
	}
	return watch, publish, nil
}
