package app

import (
	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/pkg/config"
)

// The algorithms that access tokens are signed with.
const (
	hs256 = "HS256"
	eddsa = "EdDSA"
)

// keyring signs with the key of the algorithm and verifies with the previous ones, too, which may be of the other algorithm.
// The secret verifies nothing where EdDSA signs, unless it is also the previous secret. Errors blame a variable.
func (a Auth) keyring() (*auth.Keyring, error) {
	current, err := a.signingKey()
	if err != nil {
		return nil, err
	}
	var previous []auth.Key
	if !a.Previous.IsZero() {
		k, err := auth.HS256(a.Previous)
		if err != nil {
			return nil, config.Invalid("JWT_PREVIOUS_SECRET", "cannot be used: %v", err)
		}
		if k.ID() == current.ID() {
			return nil, config.Invalid("JWT_PREVIOUS_SECRET", "is the secret that signs now; set another, or none")
		}
		previous = append(previous, k)
	}
	if !a.OldKey.IsZero() {
		k, err := auth.EdDSAPublic(a.OldKey.Reveal())
		if err != nil {
			return nil, config.Invalid("JWT_PREVIOUS_PUBLIC_KEY", "cannot be used: %v", err)
		}
		if k.ID() == current.ID() {
			return nil, config.Invalid("JWT_PREVIOUS_PUBLIC_KEY", "belongs to the key that signs now; set another, or none")
		}
		previous = append(previous, k)
	}
	return auth.NewKeyring(current, previous...)
}

// signingKey refuses a private key that would not be used, so that nobody believes that it is.
func (a Auth) signingKey() (auth.Key, error) {
	switch {
	case a.Algorithm == hs256 && !a.PrivateKey.IsZero():
		return auth.Key{}, config.Invalid("JWT_PRIVATE_KEY", "is set, but JWT_ALGORITHM is %s, which does not use it", hs256)
	case a.Algorithm == hs256:
		k, err := auth.HS256(a.Secret)
		if err != nil {
			return auth.Key{}, config.Invalid("JWT_SECRET", "cannot be used: %v", err)
		}
		return k, nil
	case a.Algorithm == eddsa && a.PrivateKey.IsZero():
		return auth.Key{}, config.Invalid("JWT_PRIVATE_KEY", "is not set, but JWT_ALGORITHM is %s", eddsa)
	case a.Algorithm == eddsa:
		k, err := auth.EdDSA(a.PrivateKey)
		if err != nil {
			return auth.Key{}, config.Invalid("JWT_PRIVATE_KEY", "cannot be used: %v", err)
		}
		return k, nil
	default:
		return auth.Key{}, config.Invalid("JWT_ALGORITHM", "must be %s or %s", hs256, eddsa)
	}
}

// cursorKeys seal the ids that feeds give out: the secret, and the previous one while they are exchanged.
func (a Auth) cursorKeys() [][]byte {
	keys := [][]byte{[]byte(a.Secret.Reveal())}
	if !a.Previous.IsZero() {
		keys = append(keys, []byte(a.Previous.Reveal()))
	}
	return keys
}
