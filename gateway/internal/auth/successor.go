package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

// NextRefresh makes the refresh token that follows a spent one. It derives from the spent token and a key that only gateways
// have, so that a client that refreshes twice, or lost the first answer, gets the same successor each time, although only
// hashes are kept. The spent token must be one that ParseRefresh reads.
func NextRefresh(spent string, key secret.Text) (plain secret.Text, hash []byte, err error) {
	t, _, err := ParseRefresh(spent)
	if err != nil {
		return secret.Text{}, nil, err
	}
	if key.Len() < MinSecretLength {
		return secret.Text{}, nil, fmt.Errorf("auth: a refresh token key needs at least %d bytes", MinSecretLength)
	}
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte("copilot refresh token successor\x00"))
	mac.Write([]byte(spent))
	return assembleRefresh(t, mac.Sum(nil))
}

// assembleRefresh puts a token together from its tenant and its 32 bytes that nobody can guess.
func assembleRefresh(t tenant.ID, unguessable []byte) (plain secret.Text, hash []byte, err error) {
	if t.IsZero() || len(unguessable) != refreshRandom {
		return secret.Text{}, nil, fmt.Errorf("make a refresh token: %w", tenant.ErrNone)
	}
	id := t.UUID()
	raw := append(append(make([]byte, 0, refreshBody+refreshChecksum), id[:]...), unguessable...)
	hash = hashRefresh(raw)
	raw = append(raw, checksumRefresh(raw)...)
	return secret.New(refreshPrefix + refreshEncoding.EncodeToString(raw)), hash, nil
}
