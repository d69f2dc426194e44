// Package token signs and verifies tokens that say who somebody is, and until when, and finds them
// in requests.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Age is how long a token is usually valid.
const Age = 30 * 24 * time.Hour

// A Key signs tokens. Who has it can be anybody. It should have 32 random bytes or more.
type Key []byte

var (
	base64url  = base64.RawURLEncoding
	errInvalid = errors.New("no valid token")
)

// Sign returns a token: the name, the end in seconds since 1970, and the signature, between dots,
// the first and the last in base64.
func (k Key) Sign(name string, until time.Time) string {
	claim := base64url.EncodeToString([]byte(name)) + "." + strconv.FormatInt(until.Unix(), 10)
	return claim + "." + k.mac(claim)
}

// Verify returns the name in a token of this key whose end has not come.
func (k Key) Verify(token string) (name string, err error) {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 || !hmac.Equal([]byte(token[dot+1:]), []byte(k.mac(token[:dot]))) {
		return "", errInvalid
	}
	_, until, _ := strings.Cut(token[:dot], ".") // what is signed is well-formed
	if unix, _ := strconv.ParseInt(until, 10, 64); time.Now().Unix() >= unix {
		return "", errInvalid
	}
	return Name(token), nil
}

// Name returns the name in a token, whether the token is valid or not, or "" if there is none.
func Name(token string) string {
	encoded, _, _ := strings.Cut(token, ".")
	name, _ := base64url.DecodeString(encoded)
	return string(name)
}

func (k Key) mac(claim string) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(claim))
	return base64url.EncodeToString(mac.Sum(nil))
}

// Of returns the token that comes with a request: as "Authorization: Bearer TOKEN", as the
// subprotocol "bearer.TOKEN" of a WebSocket, of which a page can set no header, or as a cookie. What
// the client sends by itself wins over the cookie, which the browser adds, so that each tab can be
// somebody else.
func Of(r *http.Request, cookie string) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	for offer := range strings.SplitSeq(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if token, ok := strings.CutPrefix(strings.TrimSpace(offer), "bearer."); ok {
			return token
		}
	}
	if c, err := r.Cookie(cookie); err == nil {
		return c.Value
	}
	return ""
}
