// Package token signs and verifies tokens that say who somebody is, and until when: JSON Web
// Tokens.
package token

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fbd86cad/broadcast/examples/internal/names"
)

// Age is how long a token of [Key.Issue] is valid.
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

var parser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Name}), // or the client would choose, even none
	jwt.WithExpirationRequired(),
	jwt.WithStrictDecoding(),
)

// Issue returns a token for a name, of which it signs the one form that [names.Clean] returns, or
// the error of that.
func (k Key) Issue(name string) (string, error) {
	name, err := names.Clean("name", name)
	return k.Sign(name, time.Now().Add(Age)), err
}

// Sign returns a token for a name that is valid until then.
func (k Key) Sign(name string, until time.Time) string {
	claims := jwt.RegisteredClaims{Subject: name, ExpiresAt: jwt.NewNumericDate(until)}
	token, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(k)) // cannot fail
	return token
}

// Verify returns the name in a token of this key whose end has not come.
func (k Key) Verify(token string) (name string, err error) {
	var claims jwt.RegisteredClaims
	_, err = parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return []byte(k), nil })
	if err != nil {
		return "", err
	}
	return claims.Subject, nil
}
