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

// opaque is a kind of token that says nothing but its tenant: a prefix, by which people and secret scanners know it, and the
// encoded tenant, 256 bits that nobody can guess and a checksum, by which garbage is refused without a look-up.
type opaque struct {
	prefix string
	// label makes the checksums of kinds differ.
	label string
	noun  string
	// tenantAt and randomAt are where the two parts begin.
	tenantAt, randomAt int
}

// The parts of an opaque token, in bytes before encoding.
const (
	opaqueTenant   = 16
	opaqueRandom   = 32
	opaqueBody     = opaqueTenant + opaqueRandom
	opaqueChecksum = 4
)

var opaqueEncoding = base64.RawURLEncoding.Strict()

// mint makes a token of a tenant: the text for the client, which is not kept, and the SHA-256 hash that is. A zero tenant is
// refused.
func (o opaque) mint(t tenant.ID) (plain secret.Text, hash []byte, err error) {
	random := make([]byte, opaqueRandom)
	_, _ = rand.Read(random) // never fails
	return o.assemble(t, random)
}

// assemble puts a token together from its tenant and its 32 bytes that nobody can guess.
func (o opaque) assemble(t tenant.ID, unguessable []byte) (plain secret.Text, hash []byte, err error) {
	if t.IsZero() || len(unguessable) != opaqueRandom {
		return secret.Text{}, nil, fmt.Errorf("make a %s: %w", o.noun, tenant.ErrNone)
	}
	id := t.UUID()
	raw := make([]byte, opaqueBody, opaqueBody+opaqueChecksum)
	copy(raw[o.tenantAt:], id[:])
	copy(raw[o.randomAt:], unguessable)
	hash = hashOpaque(raw)
	raw = append(raw, o.checksum(raw)...)
	return secret.New(o.prefix + opaqueEncoding.EncodeToString(raw)), hash, nil
}

// parse reads a token from a client: the tenant it belongs to and the hash to look for. That it can be read says only that it is
// no garbage. Everything else fails with fault.Unauthenticated and the code "token.invalid".
func (o opaque) parse(plain string) (t tenant.ID, hash []byte, err error) {
	encoded, found := strings.CutPrefix(plain, o.prefix)
	if !found || len(encoded) != opaqueEncoding.EncodedLen(opaqueBody+opaqueChecksum) {
		return tenant.ID{}, nil, invalidToken(errors.New("not a " + o.noun))
	}
	raw, err := opaqueEncoding.DecodeString(encoded)
	if err != nil || len(raw) != opaqueBody+opaqueChecksum {
		return tenant.ID{}, nil, invalidToken(errors.New("a " + o.noun + " with a wrong letter"))
	}
	body, sum := raw[:opaqueBody], raw[opaqueBody:]
	if subtle.ConstantTimeCompare(sum, o.checksum(body)) != 1 {
		return tenant.ID{}, nil, invalidToken(errors.New("a " + o.noun + " with a wrong checksum"))
	}
	t = tenant.FromUUID(uuid.UUID(body[o.tenantAt : o.tenantAt+opaqueTenant]))
	if t.IsZero() {
		return tenant.ID{}, nil, invalidToken(errors.New("a " + o.noun + " of no tenant"))
	}
	return t, hashOpaque(body), nil
}

// hashOpaque is what the store keeps. One round of SHA-256 is enough, because what it hides is random.
func hashOpaque(body []byte) []byte {
	sum := sha256.Sum256(body)
	return sum[:]
}

// checksum must say nothing about the hash, so it hashes something else.
func (o opaque) checksum(body []byte) []byte {
	sum := sha256.Sum256(append([]byte(o.label+"\x00"), body...))
	return sum[:opaqueChecksum]
}
