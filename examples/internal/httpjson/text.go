package httpjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"
)

// ReadText returns the one field of a body that is a JSON object: a string of 1 to maxText bytes of
// UTF-8, not all of them spaces. It blocks until the body has arrived; the ReadTimeout of the
// [http.Server] bounds that. The error is an [Error] with status 415 for another type, 413 for more
// than maxBody bytes, 408 after the deadline, and 400 for everything else.
func ReadText(w http.ResponseWriter, r *http.Request, field string, maxBody int64, maxText int) (string, error) {
	if !isJSON(r.Header) {
		return "", Errorf(http.StatusUnsupportedMediaType, "body must be application/json in UTF-8, not encoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return "", Errorf(http.StatusRequestEntityTooLarge, "body has more than %d bytes", maxBody)
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		w.Header().Set("Connection", "close")
		return "", Errorf(http.StatusRequestTimeout, "body did not arrive in time")
	}
	if err != nil {
		return "", Bad("", "body cannot be read")
	}
	text, err := decodeText(body, field)
	if err == nil && (strings.TrimSpace(text) == "" || len(text) > maxText) {
		err = Bad(field, "%s has %d bytes; it must have 1 to %d, and not only spaces", field, len(text), maxText)
	}
	return text, err
}

func isJSON(header http.Header) bool {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "application/json" || header.Get("Content-Encoding") != "" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// wholePairs matches JSON in which no escape is half of a surrogate pair, which encoding/json would
// replace.
var wholePairs = regexp.MustCompile(
	`^(?s:[^\\]|\\[^u]|\\u(?:[^dD]...|[dD][0-7]..|[dD][89abAB]..\\u[dD][c-fC-F]..))*$`)

// decodeText returns the string in an object with one field. It looks at the tokens itself, because
// encoding/json would accept the field's name in another case or twice, and anything after the
// object.
func decodeText(body []byte, field string) (text string, err error) {
	notOne := Bad("", "body must be one JSON object and nothing else")
	if !utf8.Valid(body) || !json.Valid(body) {
		return "", notOne
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if first, _ := dec.Token(); first != json.Delim('{') {
		return "", notOne
	}
	for n := 0; dec.More(); n++ {
		name, _ := dec.Token()
		switch {
		case name != field: // a client chose it, so it may be long
			return "", Bad(fmt.Sprintf("%.32s", name), "field %.32q is unknown", name)
		case n > 0:
			return "", Bad(field, "%s is given twice", field)
		}
		value, _ := dec.Token()
		var ok bool
		if text, ok = value.(string); !ok {
			return "", Bad(field, "%s must be a string", field)
		}
	}
	if !wholePairs.Match(body) {
		return "", Bad(field, "%s has half a surrogate pair", field)
	}
	if text == "" {
		err = Bad(field, "%s is missing", field)
	}
	return text, err
}
