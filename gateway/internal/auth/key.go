package auth

import (
	"strings"

	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

const (
	keyPrefix = "ck_"
	// shownPrefix is how much of a key people get to see again: its kind and 48 of its 256 random bits.
	shownPrefix = len(keyPrefix) + 8
)

// apiKey is the form of API keys: ck_ and the encoded random bits, tenant and checksum. The random bits come first, so that the
// beginnings of two keys differ.
func apiKey() opaque {
	return opaque{prefix: keyPrefix, label: "copilot API key checksum", noun: "API key", tenantAt: opaqueRandom, randomAt: 0}
}

// NewKey makes an API key of a tenant: the text for the client, which is not kept, its beginning, by which people tell keys apart,
// and the SHA-256 hash to keep. A zero tenant is refused.
func NewKey(t tenant.ID) (plain secret.Text, prefix string, hash []byte, err error) {
	plain, hash, err = apiKey().mint(t)
	if err != nil {
		return secret.Text{}, "", nil, err
	}
	return plain, plain.Reveal()[:shownPrefix], hash, nil
}

// IsKey reports whether a credential means to be an API key.
func IsKey(credential string) bool { return strings.HasPrefix(credential, keyPrefix) }

// ParseKey reads an API key from a client: the tenant it belongs to and the hash to look for. That it can be read says only that it
// is no garbage. Everything else fails with fault.Unauthenticated and the code "token.invalid".
func ParseKey(plain string) (t tenant.ID, hash []byte, err error) { return apiKey().parse(plain) }
