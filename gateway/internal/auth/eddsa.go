package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tarento/copilot/pkg/secret"
)

// The types of the PEM blocks that hold keys.
const (
	pemPrivate = "PRIVATE KEY" // PKCS #8
	pemPublic  = "PUBLIC KEY"  // SPKI
)

// EdDSA makes a key that signs and verifies of an Ed25519 private key: the PEM text of its PKCS #8 form, as
// `openssl genpkey -algorithm ed25519` writes it. Its line breaks may be written as \n, so that it fits on one line.
func EdDSA(privatePEM secret.Text) (Key, error) {
	der, err := decodePEM(privatePEM.Reveal(), pemPrivate)
	if err != nil {
		return Key{}, fmt.Errorf("auth: read a private key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The parser's own words could speak of what it read.
		return Key{}, errors.New("auth: read a private key: the PEM block holds no PKCS #8 key")
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Key{}, fmt.Errorf("auth: read a private key: it is a %T, not an Ed25519 key", parsed)
	}
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return Key{}, errors.New("auth: read a private key: it has no public key")
	}
	k := verifyingKey(public)
	k.signing = private
	return k, nil
}

// EdDSAPublic makes a key that only verifies of an Ed25519 public key: the PEM text of its SPKI form, as
// `openssl pkey -pubout` writes it. Its line breaks may be written as \n.
func EdDSAPublic(publicPEM string) (Key, error) {
	der, err := decodePEM(publicPEM, pemPublic)
	if err != nil {
		return Key{}, fmt.Errorf("auth: read a public key: %w", err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Key{}, fmt.Errorf("auth: read a public key: the PEM block holds no SPKI key: %w", err)
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return Key{}, fmt.Errorf("auth: read a public key: it is a %T, not an Ed25519 key", parsed)
	}
	return verifyingKey(public), nil
}

func verifyingKey(public ed25519.PublicKey) Key {
	return Key{id: thumbprint(public), method: jwt.SigningMethodEdDSA, verifying: public}
}

// decodePEM returns the bytes of the one block that a text holds. Errors name the kinds of blocks, never what is in them.
func decodePEM(text, kind string) ([]byte, error) {
	text = strings.ReplaceAll(text, `\n`, "\n")
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, fmt.Errorf("the text is not PEM; it should begin with -----BEGIN %s-----", kind)
	case block.Type != kind:
		return nil, fmt.Errorf("the PEM block is of type %s, not %s", block.Type, kind)
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("something follows the PEM block")
	default:
		return block.Bytes, nil
	}
}

// thumbprint is the id of a public key that everybody derives alike, by RFC 7638 and RFC 8037.
func thumbprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64url(public) + `"}`))
	return base64url(sum[:])
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// PublicKey is a key as a JSON Web Key, by RFC 7517 and, for its curve, RFC 8037.
type PublicKey struct {
	// Type is always OKP, which stands for keys on Edwards curves.
	Type string `json:"kty"`
	// Curve is always Ed25519.
	Curve string `json:"crv"`
	// Use is always sig: the key verifies signatures.
	Use string `json:"use"`
	// Algorithm is always EdDSA.
	Algorithm string `json:"alg"`
	// ID is the kid header of the tokens that the key verifies.
	ID string `json:"kid"`
	// X is the key itself in unpadded base64url.
	X string `json:"x"`
}

// KeySet is a JSON Web Key Set: what others need to verify tokens.
type KeySet struct {
	// Keys hold the key that signs before those that only verify; empty, not nil, where all keys are shared secrets.
	Keys []PublicKey `json:"keys"`
}

// Public returns the ring's keys that may be shown, and thus none of its secrets.
func (r *Keyring) Public() KeySet {
	set := KeySet{Keys: []PublicKey{}}
	for _, k := range r.keys {
		if public, ok := k.verifying.(ed25519.PublicKey); ok {
			set.Keys = append(set.Keys, PublicKey{
				Type: "OKP", Curve: "Ed25519", Use: "sig", Algorithm: k.method.Alg(), ID: k.id, X: base64url(public),
			})
		}
	}
	return set
}
