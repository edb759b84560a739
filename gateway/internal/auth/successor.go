package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/tarento/copilot/pkg/secret"
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
	return refreshToken().assemble(t, mac.Sum(nil))
}
