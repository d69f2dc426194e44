// Package token signs and verifies tokens that say who somebody is, and until when.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/examples/internal/names"
)

// Age is how long the tokens that people get are valid.
const Age = 30 * 24 * time.Hour

// A Key signs tokens. Who has it can be anybody. It should have 32 random bytes or more.
type Key string

// UnmarshalText implements [encoding.TextUnmarshaler] for settings. A key that is set must be long
// enough: an empty one is a mistake, and not the wish to have none.
func (k *Key) UnmarshalText(text []byte) error {
	if len(text) < 32 {
		return errors.New("the secret has fewer than 32 bytes")
	}
	*k = Key(text)
	return nil
}

// Issue returns a token for the one form of a name that [names.Clean] returns, or the error of
// that.
func (k Key) Issue(name string, age time.Duration) (string, error) {
	name, err := names.Clean("name", name)
	if err != nil {
		return "", err
	}
	return k.token(time.Now().Add(age).Unix(), name), nil
}

// Verify returns the name in a token of this key whose end has not come, or a refusal. What a token
// says has one token, so it need only be compared with that.
func (k Key) Verify(token string) (name string, err error) {
	end, name := Read(token)
	if !hmac.Equal([]byte(token), []byte(k.token(end, name))) || end <= time.Now().Unix() {
		return "", &broadcastsse.Refusal{Status: http.StatusUnauthorized, Text: "log in first: the token is missing, wrong, or too old"}
	}
	return name, nil
}

// token returns a code that only the key gives (HMAC-SHA256), with the text that it is for.
func (k Key) token(end int64, name string) string {
	text := fmt.Sprint(end, " ", name)
	code := hmac.New(sha256.New, []byte(k))
	code.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(append(code.Sum(nil), text...))
}

// Read returns what a token says, whoever has made it: when it ends, as a Unix time, and a name.
func Read(token string) (end int64, name string) {
	data, _ := base64.RawURLEncoding.DecodeString(token)
	seconds, name, _ := strings.Cut(string(data[min(sha256.Size, len(data)):]), " ")
	end, _ = strconv.ParseInt(seconds, 10, 64)
	return end, name
}
