package httpjson

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
)

// ReadBody returns the body of a request that is declared as JSON. It blocks until the whole body
// has arrived; the ReadTimeout of the [http.Server] bounds that. The error is an [Error] with
// status 415 for another type, 413 for more than limit bytes, 408 after the deadline, and 400 for a
// body that breaks off.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if !isJSON(r.Header) {
		return nil, Errorf(http.StatusUnsupportedMediaType, "body must be application/json in UTF-8, not encoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return body, nil
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, Errorf(http.StatusRequestEntityTooLarge, "body has more than %d bytes", limit)
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		w.Header().Set("Connection", "close")
		return nil, Errorf(http.StatusRequestTimeout, "body did not come in time")
	}
	return nil, Bad("", "body cannot be read")
}

func isJSON(header http.Header) bool {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "application/json" || header.Get("Content-Encoding") != "" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// ReadText returns the text of a body that is an object with one field: see [ReadBody],
// [DecodeObject] and [Object.Text].
func ReadText(w http.ResponseWriter, r *http.Request, field string, maxBody int64, maxText int) (string, error) {
	body, err := ReadBody(w, r, maxBody)
	if err != nil {
		return "", err
	}
	o, err := DecodeObject(body, []string{field})
	if err != nil {
		return "", err
	}
	return o.Text(field, maxText)
}
