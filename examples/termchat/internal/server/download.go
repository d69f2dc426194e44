package server

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"net/http"
	"time"
)

// download answers GET /files/{id} with the file, always as an attachment to be saved, whatever its
// type and name.
func (s *server) download(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.identity(r, "", ""); err != nil {
		return err
	}
	if !s.files.Enter() {
		return errStopping
	}
	defer s.files.Leave()
	file, known, err := s.store.open(r.PathValue("id"))
	if err != nil {
		return err
	}
	defer file.Close()

	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": known.Name}))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	header.Set("Cache-Control", "private, no-cache")
	header.Set("Connection", "close") // the deadline of the last write stays with it
	if sum, err := hex.DecodeString(known.SHA256); err == nil && len(sum) > 0 {
		header.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":") // RFC 9530
	}
	out := &downloadWriter{ResponseWriter: w, response: http.NewResponseController(w), server: s}
	defer context.AfterFunc(s.giveUp, func() { _ = out.response.SetWriteDeadline(time.Now()) })() // wakes a write that waits
	http.ServeContent(out, r, "", time.Time{}, file)
	return nil
}

// downloadWriter sets a deadline for each write, and refuses to write once the server gives up.
type downloadWriter struct {
	http.ResponseWriter
	response *http.ResponseController
	server   *server
}

func (d *downloadWriter) Write(p []byte) (int, error) {
	if err := d.response.SetWriteDeadline(time.Now().Add(d.server.cfg.BodyIdle)); err != nil {
		return 0, err
	}
	if d.server.giveUp.Err() != nil { // after the deadline was set, which may have been moved past the one of download
		return 0, errStopping
	}
	return d.ResponseWriter.Write(p)
}
