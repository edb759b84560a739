package httpapi_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tarento/copilot/gateway/internal/auth/authtest"
)

// keyPair is a key of tokens, the private half on one line as it fits into a variable.
func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	private, public = authtest.Pair(t)
	return strings.ReplaceAll(private, "\n", `\n`), public
}

// startBeside runs a gateway that differs from another in its settings and shares its database.
func startBeside(g *gateway, settings ...string) *gateway {
	g.t.Helper()
	return start(g.t, append([]string{"DATABASE_URL", g.db.AppURL, "ENGINE_DATABASE_URL", g.db.EngineURL}, settings...)...)
}

type keySet struct {
	Keys []struct{ Kty, Crv, Use, Alg, Kid, X, D string }
}

// keySet reads the keys as an outsider does.
func (g *gateway) keySet() (set keySet) {
	g.t.Helper()
	a := g.call("", "GET", "/.well-known/jwks.json", nil).wants(200).lacks(`"d"`)
	if media, keep := a.header.Get("Content-Type"), a.header.Get("Cache-Control"); media != "application/jwk-set+json" ||
		keep != "public, max-age=300" {
		g.t.Errorf("the key set is %s, kept as %q", media, keep)
	}
	a.into(&set)
	if set.Keys == nil {
		g.t.Errorf("no list of keys: %s", a.body)
	}
	return set
}

// find is an outsider's way from a token to the key that verifies it.
func (s keySet) find(token *jwt.Token) (any, error) {
	for _, k := range s.Keys {
		if k.Kid != token.Header["kid"] {
			continue
		}
		if k.Kty != "OKP" || k.Crv != "Ed25519" || k.Use != "sig" || k.Alg != "EdDSA" {
			return nil, errors.New("the key is of another kind")
		}
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		return ed25519.PublicKey(x), err
	}
	return nil, errors.New("no key of this name")
}

// claims verifies a token as an outsider who trusts the key set and nothing else.
func (s keySet) claims(token string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token, claims, s.find, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer("copilot"),
		jwt.WithAudience("copilot-api"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding())
	if err == nil && parsed.Header["typ"] != "at+jwt" {
		err = errors.New("not an access token")
	}
	return claims, err
}

func TestOutsidersVerifyTokensWithThePublishedKeys(t *testing.T) {
	t.Parallel()
	private, _ := keyPair(t)
	g := start(t, "JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", private)
	g.call("", "GET", "/", nil).wants(200).has(`"jwks":"/.well-known/jwks.json"`)
	if a := g.call("", "HEAD", "/.well-known/jwks.json", nil).wants(200); a.body != "" {
		t.Errorf("HEAD answers with the body %.40q", a.body)
	}
	set := g.keySet()
	if len(set.Keys) != 1 {
		t.Fatalf("%d keys, want 1", len(set.Keys))
	}
	token := g.token(admin)
	claims, err := set.claims(token)
	if err != nil {
		t.Fatal(err)
	}
	if claims["sub"] != adminID || claims["org"] != acmeOrg || claims["jti"] == "" || claims["nbf"] != claims["iat"] {
		t.Errorf("claims %v", claims)
	}
	if _, err := set.claims(token[:len(token)-8] + "AAAAAAAA"); !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		t.Errorf("a changed token: %v", err)
	}
	g.call(admin, "GET", "/v1/auth/me", nil).wants(200)

	// Whoever takes the published key for a shared secret signs nothing that counts.
	forged := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	forged.Header["typ"], forged.Header["kid"] = "at+jwt", set.Keys[0].Kid
	public, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	if err != nil {
		t.Fatal(err)
	}
	if g.tokens["forger"], err = forged.SignedString(public); err != nil {
		t.Fatal(err)
	}
	g.call("forger", "GET", "/v1/auth/me", nil).wants(401).has("token.invalid")
	if strings.Contains(g.log.String(), private) {
		t.Error("the log holds the private key")
	}
}

func TestNewKeyAndTheOneBeforeItAreBothGood(t *testing.T) {
	t.Parallel()
	oldPrivate, oldPublic := keyPair(t)
	newPrivate, _ := keyPair(t)
	before := start(t, "JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", oldPrivate)
	after := startBeside(before, "JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", newPrivate, "JWT_PREVIOUS_PUBLIC_KEY", oldPublic)

	after.tokens["old"] = before.token(member)
	after.call("old", "GET", "/v1/auth/me", nil).wants(200)
	set := after.keySet()
	if len(set.Keys) != 2 || set.Keys[1].Kid != before.keySet().Keys[0].Kid {
		t.Fatalf("keys %+v, want the new one and the old one", set.Keys)
	}
	for what, token := range map[string]string{"old": before.token(member), "new": after.token(member)} {
		if _, err := set.claims(token); err != nil {
			t.Errorf("the %s token: %v", what, err)
		}
	}
	before.tokens["new"] = after.token(member)
	before.call("new", "GET", "/v1/auth/me", nil).wants(401).has("token.invalid")
}

func TestSecretGivesWayToAKeyPairWithoutLoggingAnybodyOut(t *testing.T) {
	t.Parallel()
	private, public := keyPair(t)
	first := start(t)
	if keys := first.keySet().Keys; len(keys) != 0 {
		t.Errorf("a secret signs, and the key set holds %v", keys)
	}
	waiting := startBeside(first, "JWT_PREVIOUS_PUBLIC_KEY", public)
	switched := startBeside(first, "JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", private, "JWT_PREVIOUS_SECRET", jwtSecret)
	last := startBeside(first, "JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", private)

	s := first.login(member, password).Tokens
	for _, g := range []*gateway{waiting, switched, last} {
		g.tokens["by secret"] = s.Access
		g.tokens["by pair"] = switched.token(member)
		if keys := g.keySet().Keys; len(keys) != 1 {
			t.Errorf("%d keys are published, want the pair's", len(keys))
		}
		g.call("by pair", "GET", "/v1/auth/me", nil).wants(200)
	}
	waiting.call("by secret", "GET", "/v1/auth/me", nil).wants(200)
	switched.call("by secret", "GET", "/v1/auth/me", nil).wants(200)
	last.call("by secret", "GET", "/v1/auth/me", nil).wants(401).has("token.invalid")
	last.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": s.Refresh}).wants(200)
}
