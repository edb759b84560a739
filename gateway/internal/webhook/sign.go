package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/pkg/secret"
)

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
)

// newSecret makes a signing secret in the form of the specification.
func newSecret() secret.Text {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // it never fails
	return secret.New(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

var errSecret = errors.New("webhook: the secret is malformed")

// sign returns the value of webhook-signature: one signature for each secret, so that a receiver may know either while they rotate.
func sign(id string, at time.Time, body []byte, secrets ...secret.Text) (string, error) {
	signatures := make([]string, len(secrets))
	for i, s := range secrets {
		encoded, ok := strings.CutPrefix(s.Reveal(), secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil {
			return "", errSecret
		}
		mac := hmac.New(sha256.New, key)
		for _, part := range []string{id, ".", strconv.FormatInt(at.Unix(), 10), "."} {
			mac.Write([]byte(part))
		}
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " "), nil
}
