package server

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/names"
)

// Limits in bytes. The longest text fits into a body, however it is escaped.
const maxText, maxBody = 4096, 64 << 10

// readText returns the one field of a body that is a JSON object: a text in which there is
// something to see, and no control character other than the end of a line and a tab. It blocks
// until the body has arrived; the BodyTimeout bounds that.
func readText(w http.ResponseWriter, r *http.Request, field string) (string, error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return "", httpjson.Errorf(http.StatusUnsupportedMediaType, "body must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return "", httpjson.Errorf(http.StatusRequestEntityTooLarge, "body has more than %d bytes", maxBody)
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		w.Header().Set("Connection", "close")
		return "", httpjson.Errorf(http.StatusRequestTimeout, "body did not arrive in time")
	}
	if err != nil {
		return "", httpjson.Bad("", "body cannot be read")
	}
	return decodeText(body, field)
}

func decodeText(body []byte, field string) (string, error) {
	var fields map[string]string
	err := json.Unmarshal(body, &fields) // strict: no field twice, no half of a surrogate pair
	for name := range fields {
		if name != field { // a client chose it, so it may be long
			return "", httpjson.Bad(name[:min(len(name), 32)], "field %.32q is unknown", name)
		}
	}
	text := fields[field]
	syntax, bad := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case bad && syntax.JSONPointer == "", fields == nil:
		return "", httpjson.Bad("", "body must be one JSON object and nothing else")
	case err != nil:
		return "", httpjson.Bad(field, "%s must be given once, and be a string in UTF-8", field)
	case len(text) > maxText:
		return "", httpjson.Bad(field, "%s has %d bytes; it must have 1 to %d", field, len(text), maxText)
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return "", httpjson.Bad(field, "%s has a control character", field)
	case !names.Visible(text):
		return "", httpjson.Bad(field, "%s is missing, or shows nothing", field)
	}
	return text, nil
}
