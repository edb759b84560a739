// Package seal keeps what must be read back, such as the secrets of webhooks, so that it says nothing to who reads the database: encrypted
// with AES-256-GCM under a key that is not there.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tarento/copilot/pkg/secret"
)

// Sealer seals and opens. It is safe for concurrent use.
type Sealer struct{ keys []cipher.AEAD }

// purpose is what the keys are derived for, so that a secret with other uses can be theirs, too.
const purpose = "copilot sealed values v1"

// version begins every sealed value, for the day on which they are made in another way.
const version = 1

// New makes a sealer of secrets of at least 32 random bytes: the first seals, each of them opens. Empty ones are left out.
func New(secrets ...secret.Text) (*Sealer, error) {
	s := &Sealer{}
	for _, from := range secrets {
		if from.IsZero() {
			continue
		}
		key, err := hkdf.Key(sha256.New, []byte(from.Reveal()), nil, purpose, 32)
		if err != nil {
			return nil, fmt.Errorf("seal: derive a key: %w", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("seal: make a cipher: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("seal: make a cipher: %w", err)
		}
		s.keys = append(s.keys, aead)
	}
	if len(s.keys) == 0 {
		return nil, errors.New("seal: there is no key")
	}
	return s, nil
}

// ErrUnreadable means that a sealed value was not sealed with any of the keys, or not for this owner, or was changed.
var ErrUnreadable = errors.New("seal: the value cannot be opened")

// Seal encrypts a value for its owner, the id of the row that holds it: in another row it does not open.
func (s *Sealer) Seal(value secret.Text, owner []byte) []byte {
	return s.keys[0].Seal([]byte{version}, nil, []byte(value.Reveal()), owner) //nolint:gosec // the cipher makes its own nonce
}

// Open decrypts a value that was sealed for the owner, or returns ErrUnreadable.
func (s *Sealer) Open(sealed, owner []byte) (secret.Text, error) {
	if len(sealed) == 0 || sealed[0] != version {
		return secret.Text{}, ErrUnreadable
	}
	for _, key := range s.keys {
		if value, err := key.Open(nil, nil, sealed[1:], owner); err == nil {
			return secret.New(string(value)), nil
		}
	}
	return secret.Text{}, ErrUnreadable
}
