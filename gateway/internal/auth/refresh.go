package auth

import (
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

// refreshToken is the form of refresh tokens: rt_ and the encoded tenant, random bits and checksum.
func refreshToken() opaque {
	return opaque{prefix: "rt_", label: "copilot refresh token checksum", noun: "refresh token", tenantAt: 0, randomAt: opaqueTenant}
}

// NewRefresh makes a refresh token of a tenant: the text for the client, which is not kept, and the SHA-256 hash that is. A
// zero tenant is refused.
func NewRefresh(t tenant.ID) (plain secret.Text, hash []byte, err error) {
	return refreshToken().mint(t)
}

// ParseRefresh reads a refresh token from a client: the tenant it belongs to and the hash to look for. That it can be read
// says only that it is no garbage. Everything else fails with fault.Unauthenticated and the code "token.invalid".
func ParseRefresh(plain string) (t tenant.ID, hash []byte, err error) {
	return refreshToken().parse(plain)
}
