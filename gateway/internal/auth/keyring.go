package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tarento/copilot/pkg/secret"
)

// MinSecretLength is the length in bytes of the shortest secret that HS256 takes, that of its hash.
const MinSecretLength = 32

// Key signs or verifies access tokens by one algorithm. Make it with HS256.
type Key struct {
	id        string
	method    jwt.SigningMethod
	signing   any
	verifying any
}

// HS256 makes a key of a secret that all gateways share. The key's id is derived from the secret, so that rotation moves the
// secret and has no id to keep in step.
func HS256(s secret.Text) (Key, error) {
	if s.Len() < MinSecretLength {
		return Key{}, fmt.Errorf("auth: a signing secret needs at least %d bytes, this one has %d", MinSecretLength, s.Len())
	}
	key := []byte(s.Reveal())
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("copilot access token key id"))
	return Key{
		id:        hex.EncodeToString(mac.Sum(nil)[:8]),
		method:    jwt.SigningMethodHS256,
		signing:   key,
		verifying: key,
	}, nil
}

// ID returns the key's public name, which stands in the kid header of the tokens it signed.
func (k Key) ID() string { return k.id }

// Keyring holds the key that signs and all keys that verify. To rotate, put a new key in front and keep the old one behind it
// for as long as its tokens live.
type Keyring struct {
	current Key
	byID    map[string]Key
	methods []string
}

// NewKeyring makes a keyring that signs with current and verifies with all given keys.
func NewKeyring(current Key, previous ...Key) (*Keyring, error) {
	ring := &Keyring{current: current, byID: make(map[string]Key, 1+len(previous))}
	for _, k := range append([]Key{current}, previous...) {
		if k.method == nil {
			return nil, errors.New("auth: a zero Key in a keyring")
		}
		if _, found := ring.byID[k.id]; found {
			return nil, fmt.Errorf("auth: the key %s is in the keyring twice", k.id)
		}
		ring.byID[k.id] = k
		if alg := k.method.Alg(); !slices.Contains(ring.methods, alg) {
			ring.methods = append(ring.methods, alg)
		}
	}
	return ring, nil
}

// find returns what verifies a token: the key that its header names, if the token was also signed by that key's algorithm.
func (r *Keyring) find(token *jwt.Token) (any, error) {
	id, ok := token.Header["kid"].(string)
	if !ok {
		return nil, errors.New("no kid header")
	}
	k, ok := r.byID[id]
	if !ok {
		return nil, errors.New("unknown key")
	}
	if k.method.Alg() != token.Method.Alg() {
		return nil, errors.New("the algorithm is not the key's")
	}
	return k.verifying, nil
}
