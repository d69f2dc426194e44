package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/benchmarks/sockets"
)

// messengerOfToday is how examples/messenger served its WebSockets before there was broadcastws: a
// copy of its handler, without what a request can ask for and without the end of the server, so
// that figures stay comparable when the example changes.
func messengerOfToday() (http.Handler, func(int64) error, error) {
	broker, err := broadcast.New[messengerMessage](
		broadcast.WithBuffer(256),
		broadcast.WithPatience(10*time.Millisecond),
		broadcast.WithPublishTimeout(5*time.Second),
		broadcast.WithStallTimeout(30*time.Second),
		broadcast.WithCleanInterval(5*time.Second),
		broadcast.WithHistory(250, time.Hour),
		broadcast.WithLeaveGrace(5*time.Second),
		broadcast.WithMaxChats(1000),
	)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	watch := func(w http.ResponseWriter, r *http.Request) {
		chat, device := r.URL.Query().Get("chat"), r.URL.Query().Get("device")
		sub, err := broker.Subscribe(chat, device, broadcast.Resume(broadcast.Position{}))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer func() { _ = sub.Close() }()
		upgrade := &messengerHijacker{ResponseWriter: w}
		ws, err := websocket.Accept(upgrade, r, nil)
		if err != nil {
			return // Accept has answered
		}
		k := &messengerSocket{ws: ws, conn: upgrade.conn, sub: sub}
		k.log = log.With("chat", chat, "device", device)
		k.run()
	}
	publish := func(number int64) error {
		m, err := newMessengerMessage(number)
		if err != nil {
			return err
		}
		return broker.Publish(context.Background(), "1", m)
	}
	return http.HandlerFunc(watch), publish, nil
}

// messengerMessage is a message as JSON, without its closing brace. For each socket the rest is
// appended.
type messengerMessage string

func newMessengerMessage(number int64) (messengerMessage, error) {
	b, err := json.Marshal(struct {
		Text string    `json:"text"`
		At   time.Time `json:"at"`
		By   int64     `json:"by"`
		Chat int64     `json:"chat"`
	}{string(sockets.AppendText(nil, number)), time.Now().UTC(), 7, 1})
	if err != nil {
		return "", err
	}
	return messengerMessage(b[:len(b)-1]), nil
}

func appendMessengerMessage(frame []byte, d broadcast.Delivery[messengerMessage]) []byte {
	frame = append(frame, d.Message...)
	frame = append(frame, `,"seq":`...)
	frame = strconv.AppendUint(frame, d.Seq, 10)
	frame = append(frame, `,"missed":`...)
	frame = strconv.AppendUint(frame, d.Missed, 10)
	frame = append(frame, `,"position":"`...)
	frame = append(frame, d.Position().String()...)
	return append(frame, `"}`...)
}

// messengerSocket is one open WebSocket. Three goroutines share it: the handler's own writes, one
// reads, and one pings.
type messengerSocket struct {
	ws   *websocket.Conn
	conn *messengerConn
	sub  *broadcast.Subscriber[messengerMessage]
	log  *slog.Logger
}

func (k *messengerSocket) run() {
	var helpers sync.WaitGroup
	closed := make(chan struct{})
	helpers.Go(k.read)
	helpers.Go(func() { k.ping(closed) })
	err := k.deliver()
	_ = k.conn.Close()
	_ = k.ws.CloseNow()
	close(closed)
	helpers.Wait()
	k.log.Debug("socket closed", "err", err)
}

func (k *messengerSocket) deliver() error {
	for d := range k.sub.All(context.Background()) {
		frame := messengerFrames.Get().(*[]byte)
		*frame = appendMessengerMessage((*frame)[:0], d)
		err := k.ws.Write(context.Background(), websocket.MessageText, *frame)
		messengerFrames.Put(frame)
		if err != nil {
			return err
		}
	}
	return nil
}

var messengerFrames = sync.Pool{New: func() any { return new([]byte) }}

func (k *messengerSocket) read() {
	k.ws.SetReadLimit(4 << 10)
	_, _, _ = k.ws.Read(context.Background()) // whatever it is, it is the end
	_ = k.sub.Close()
}

func (k *messengerSocket) ping(closed <-chan struct{}) {
	ticker := time.NewTicker(30 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-closed:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		err := k.ws.Ping(ctx)
		cancel()
		if err != nil {
			_ = k.conn.Close()
			return
		}
	}
}

// messengerConn is a connection on which each write has a deadline of its own.
type messengerConn struct {
	net.Conn
}

// Write implements [net.Conn].
func (c *messengerConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	tcp, ok := c.Conn.(interface{ SetLinger(seconds int) error })
	if ok && errors.Is(err, os.ErrDeadlineExceeded) {
		_ = tcp.SetLinger(0)
	}
	return n, err
}

// messengerHijacker hands over its connection, and also keeps it.
type messengerHijacker struct {
	http.ResponseWriter
	conn *messengerConn
}

// Hijack implements [http.Hijacker].
func (h *messengerHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if tcp, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = tcp.SetWriteBuffer(64 << 10)
	}
	h.conn = &messengerConn{conn}
	rw.Writer.Reset(h.conn)
	return h.conn, rw, nil
}
