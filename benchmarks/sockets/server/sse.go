package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/benchmarks/sockets"
)

// sseOfToday is how examples/sse served its streams before there was broadcastsse: a copy of its
// handler, without what a request can ask for and without the end of the server.
func sseOfToday() (http.Handler, func(int64) error, error) {
	broker, err := broadcast.New[sseMessage](
		broadcast.WithHistory(500, 15*time.Minute),
		broadcast.WithBuffer(256),
		broadcast.WithSampling(broadcast.Disconnect),
		broadcast.WithPublishTimeout(5*time.Second),
		broadcast.WithMaxChats(1000),
	)
	if err != nil {
		return nil, nil, err
	}
	watch := func(w http.ResponseWriter, r *http.Request) {
		sub, err := broker.Subscribe(r.URL.Query().Get("chat"), r.URL.Query().Get("device"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer func() { _ = sub.Close() }()
		st := &sseStream{w: w, control: http.NewResponseController(w), sub: sub}
		_ = st.run(r.Context()) // the client has gone
	}
	publish := func(number int64) error {
		return broker.Publish(context.Background(), "1", newSSEMessage(number))
	}
	return http.HandlerFunc(watch), publish, nil
}

// sseMessage is the data lines of an event, made once for all streams.
type sseMessage string

func newSSEMessage(number int64) sseMessage {
	about, _ := json.Marshal(struct {
		At   time.Time `json:"at"`
		By   int64     `json:"by"`
		Chat int64     `json:"chat"`
	}{time.Now().UTC(), 7, 1})
	text := string(sockets.AppendText(nil, number))
	return sseMessage("data: " + string(about) + "\ndata: " + sseDataLines.Replace(text) + "\n")
}

var sseDataLines = strings.NewReplacer("\r\n", "\ndata: ", "\n", "\ndata: ", "\r", "\ndata: ")

func (m sseMessage) appendTo(b []byte, id string) []byte {
	b = append(b, "id: "...)
	b = append(b, id...)
	b = append(b, '\n')
	b = append(b, m...)
	return append(b, '\n')
}

// sseStream writes a subscription to an HTTP response, on the one goroutine of its handler.
type sseStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sub     *broadcast.Subscriber[sseMessage]
	out     []byte
}

func (st *sseStream) run(ctx context.Context) error {
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	st.out = append(st.out, "retry: 1500\nid: "+st.sub.Position().String()+"\n"...)
	st.out = append(st.out, "event: ready\ndata: {}\n\n"...)
	if err := st.send(); err != nil {
		return err
	}
	var batch [16]broadcast.Delivery[sseMessage]
	for {
		wait, cancel := context.WithTimeout(ctx, 15*time.Second)
		n, err := st.sub.NextBatch(wait, batch[:])
		cancel()
		switch {
		case err == nil:
			for _, d := range batch[:n] {
				st.out = d.Message.appendTo(st.out, d.Position().String())
			}
			clear(batch[:n])
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			st.out = append(st.out, ":\n\n"...)
		default:
			return err
		}
		if err := st.send(); err != nil {
			return err
		}
	}
}

func (st *sseStream) send() error {
	if err := st.control.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err := st.w.Write(st.out)
	if cap(st.out) > 64<<10 {
		st.out = nil
	}
	st.out = st.out[:0]
	if err != nil {
		return err
	}
	return st.control.Flush()
}
