// Package token signs and verifies tokens that say who somebody is, and until when: JSON Web
// Tokens.
package token

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

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
	claims := jwt.RegisteredClaims{Subject: name, ExpiresAt: jwt.NewNumericDate(time.Now().Add(age))}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(k))
}

// Verify returns the name in a token of this key whose end has not come.
func (k Key) Verify(token string) (name string, err error) {
	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return []byte(k), nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Name}), // or the client would choose, even none
		jwt.WithExpirationRequired(), jwt.WithStrictDecoding())
	if err != nil {
		return "", err
	}
	return claims.Subject, nil
}
