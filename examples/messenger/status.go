package main

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// devices answers GET /devices?chat=1: who watches a chat, by number.
func (s *Server) devices(w http.ResponseWriter, r *http.Request) error {
	chat, err := httpjson.QueryID(r.URL.Query(), "chat")
	if err != nil {
		return err
	}
	if _, err := s.identity(r, chat, 0); err != nil {
		return err
	}
	httpjson.Write(w, http.StatusOK, struct {
		Chat    httpjson.ID   `json:"chat"`
		Devices []httpjson.ID `json:"devices"`
	}{chat, s.present(chat)})
	return nil
}

// present returns who is in a chat, by number.
func (s *Server) present(chat httpjson.ID) []httpjson.ID {
	names := s.broker.Devices(chat.String())
	devices := make([]httpjson.ID, len(names))
	for i, name := range names {
		n, _ := strconv.ParseInt(name, 10, 64) // cannot fail: all names are those of ids
		devices[i] = httpjson.ID(n)
	}
	slices.Sort(devices)
	return devices
}

// health answers GET /healthz: 200, and 503 once the server is shutting down, so that a load balancer stops sending clients.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	if s.sockets.IsShut() {
		return errShuttingDown
	}
	httpjson.Write(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ok"})
	return nil
}

// stats answers GET /stats with the books of the broker.
func (s *Server) stats(w http.ResponseWriter, _ *http.Request) error {
	b := s.broker.Stats()
	httpjson.Write(w, http.StatusOK, struct {
		Chats        int    `json:"chats"`
		Subscribers  int    `json:"subscribers"`
		Accepted     uint64 `json:"accepted"`
		Rejected     uint64 `json:"rejected"`
		Delivered    uint64 `json:"delivered"`
		Missed       uint64 `json:"missed"`
		Pending      uint64 `json:"pending"`
		Discarded    uint64 `json:"discarded"`
		Replaced     uint64 `json:"replaced"`
		Disconnected uint64 `json:"disconnected"`
		Stalled      uint64 `json:"stalled"`
		ChatsCleaned uint64 `json:"chats_cleaned"`
	}{
		b.Chats, b.Subscribers, b.Accepted, b.Rejected, b.Delivered, b.Missed, b.Pending, b.Discarded,
		b.Replaced, b.Disconnected, b.Stalled, b.ChatsCleaned,
	})
	return nil
}
