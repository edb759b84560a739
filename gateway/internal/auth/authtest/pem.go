// Package authtest makes keys for tests, as openssl writes them.
package authtest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"testing"
)

// Pair returns the halves of a new Ed25519 key.
func Pair(tb testing.TB) (private, public string) {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return Private(tb, key), Public(tb, key.Public())
}

// Private returns the private half of a key, of any kind.
func Private(tb testing.TB, key crypto.PrivateKey) string {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return encode(tb, "PRIVATE KEY", der, err)
}

// Public returns the public half of a key, of any kind.
func Public(tb testing.TB, key crypto.PublicKey) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	return encode(tb, "PUBLIC KEY", der, err)
}

func encode(tb testing.TB, kind string, der []byte, err error) string {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
