package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

// refreshPrefix tells people and secret scanners what the token is.
const refreshPrefix = "rt_"

// The parts of a refresh token, in bytes before encoding: the tenant, 256 random bits, the checksum.
const (
	refreshTenant   = 16
	refreshRandom   = 32
	refreshBody     = refreshTenant + refreshRandom
	refreshChecksum = 4
)

var refreshEncoding = base64.RawURLEncoding.Strict()

// NewRefresh makes a refresh token of a tenant: the text for the client, which is not kept, and the SHA-256 hash that is. A
// zero tenant is refused.
func NewRefresh(t tenant.ID) (plain secret.Text, hash []byte, err error) {
	if t.IsZero() {
		return secret.Text{}, nil, fmt.Errorf("make a refresh token: %w", tenant.ErrNone)
	}
	id := t.UUID()
	raw := make([]byte, refreshBody, refreshBody+refreshChecksum)
	copy(raw, id[:])
	_, _ = rand.Read(raw[refreshTenant:]) // never fails
	hash = hashRefresh(raw)
	raw = append(raw, checksumRefresh(raw)...)
	return secret.New(refreshPrefix + refreshEncoding.EncodeToString(raw)), hash, nil
}

// ParseRefresh reads a refresh token from a client: the tenant it belongs to and the hash to look for. That it can be read
// says only that it is no garbage. Everything else fails with fault.Unauthenticated and the code "token.invalid".
func ParseRefresh(plain string) (t tenant.ID, hash []byte, err error) {
	encoded, found := strings.CutPrefix(plain, refreshPrefix)
	if !found || len(encoded) != refreshEncoding.EncodedLen(refreshBody+refreshChecksum) {
		return tenant.ID{}, nil, invalidToken(errors.New("not a refresh token"))
	}
	raw, err := refreshEncoding.DecodeString(encoded)
	if err != nil || len(raw) != refreshBody+refreshChecksum {
		return tenant.ID{}, nil, invalidToken(errors.New("a refresh token with a wrong letter"))
	}
	body, sum := raw[:refreshBody], raw[refreshBody:]
	if subtle.ConstantTimeCompare(sum, checksumRefresh(body)) != 1 {
		return tenant.ID{}, nil, invalidToken(errors.New("a refresh token with a wrong checksum"))
	}
	t = tenant.FromUUID(uuid.UUID(body[:refreshTenant]))
	if t.IsZero() {
		return tenant.ID{}, nil, invalidToken(errors.New("a refresh token of no tenant"))
	}
	return t, hashRefresh(body), nil
}

// hashRefresh is what the store keeps. One round of SHA-256 is enough, because what it hides is random.
func hashRefresh(body []byte) []byte {
	sum := sha256.Sum256(body)
	return sum[:]
}

// checksumRefresh must say nothing about the hash, so it hashes something else.
func checksumRefresh(body []byte) []byte {
	sum := sha256.Sum256(append([]byte("copilot refresh token checksum\x00"), body...))
	return sum[:refreshChecksum]
}
