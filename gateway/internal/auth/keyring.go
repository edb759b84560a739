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

// Key signs or verifies access tokens by one algorithm. Make it with HS256, EdDSA or EdDSAPublic.
type Key struct {
	id     string
	method jwt.SigningMethod
	// signing is nil in a key that only verifies.
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
// for as long as its tokens live. The two may be of different algorithms.
type Keyring struct {
	// keys begin with the one that signs.
	keys    []Key
	byID    map[string]Key
	methods []string
}

// NewKeyring makes a keyring that signs with current and verifies with all given keys. A current key that cannot sign is an
// error, as is a key that is given twice.
func NewKeyring(current Key, previous ...Key) (*Keyring, error) {
	ring := &Keyring{keys: append([]Key{current}, previous...), byID: make(map[string]Key, 1+len(previous))}
	for _, k := range ring.keys {
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
	if current.signing == nil {
		return nil, fmt.Errorf("auth: the key %s cannot sign, because it is only the public half", current.id)
	}
	return ring, nil
}

// current is the key that signs.
func (r *Keyring) current() Key { return r.keys[0] }

// find returns what verifies a token: the key that its header names, if the token was also signed by that key's algorithm.
// The algorithm is the key's and never the token's to choose: otherwise a public key would pass for a shared secret.
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
