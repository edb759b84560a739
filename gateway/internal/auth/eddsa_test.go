package auth_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/gateway/internal/auth/authtest"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
)

// The Ed25519 key of RFC 8037, appendix A, which knows its thumbprint.
const (
	standardSeed       = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
	standardX          = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	standardThumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
)

// pair is an Ed25519 key in all its forms.
type pair struct {
	private           ed25519.PrivateKey
	privatePEM        string
	publicPEM         string
	key, verifiesOnly auth.Key
}

func pairOf(t *testing.T, seed []byte) pair {
	t.Helper()
	p := pair{private: ed25519.NewKeyFromSeed(seed)}
	p.privatePEM, p.publicPEM = authtest.Private(t, p.private), authtest.Public(t, p.private.Public())
	var err error
	if p.key, err = auth.EdDSA(secret.New(p.privatePEM)); err != nil {
		t.Fatal(err)
	}
	if p.verifiesOnly, err = auth.EdDSAPublic(p.publicPEM); err != nil {
		t.Fatal(err)
	}
	return p
}

func newPair(t *testing.T) pair {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		t.Fatal(err)
	}
	return pairOf(t, seed)
}

// tokensOf issues with the first key and verifies with all, at noon.
func tokensOf(t *testing.T, keys ...auth.Key) *auth.Tokens {
	t.Helper()
	ring, err := auth.NewKeyring(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return tokensAt(t, 0, func(o *auth.TokenOptions) { o.Keys = ring }, newSecret)
}

func TestKeyIsNamedByItsThumbprint(t *testing.T) {
	t.Parallel()
	seed, err := hex.DecodeString(standardSeed)
	if err != nil {
		t.Fatal(err)
	}
	p := pairOf(t, seed)
	if p.key.ID() != standardThumbprint || p.verifiesOnly.ID() != standardThumbprint {
		t.Errorf("the halves are called %s and %s, want %s", p.key.ID(), p.verifiesOnly.ID(), standardThumbprint)
	}
	got, err := json.Marshal(tokensOf(t, p.key).KeySet())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"` + standardThumbprint + `","x":"` + standardX + `"}]}`
	if string(got) != want {
		t.Errorf("key set %s\nwant %s", got, want)
	}
}

func TestKeySetShowsOnlyPublicKeys(t *testing.T) {
	t.Parallel()
	current, old := newPair(t), newPair(t)
	got, err := json.Marshal(tokensOf(t, key(t, newSecret), key(t, oldSecret)).KeySet())
	if err != nil || string(got) != `{"keys":[]}` {
		t.Errorf("with secrets only: %s, %v", got, err)
	}
	for name, c := range map[string]struct {
		keys []auth.Key
		want []string
	}{
		"the signing key stands first":   {[]auth.Key{current.key, old.verifiesOnly}, []string{current.key.ID(), old.key.ID()}},
		"a previous secret is left out":  {[]auth.Key{current.key, key(t, oldSecret)}, []string{current.key.ID()}},
		"a previous public key is shown": {[]auth.Key{key(t, newSecret), old.verifiesOnly}, []string{old.key.ID()}},
	} {
		set := tokensOf(t, c.keys...).KeySet()
		var ids []string
		for _, k := range set.Keys {
			ids = append(ids, k.ID)
		}
		if strings.Join(ids, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: %v, want %v", name, ids, c.want)
		}
	}
}

func TestSignedTokenOnTheWire(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	token := issue(t, tokensOf(t, p.key), newSubject(t))
	if len(token) > 800 {
		t.Errorf("a token has %d bytes", len(token))
	}
	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return p.private.Public(), nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithTimeFunc(func() time.Time { return noon }))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"alg": "EdDSA", "typ": "at+jwt", "kid": p.key.ID()} {
		if parsed.Header[name] != want {
			t.Errorf("header %s is %v, want %s", name, parsed.Header[name], want)
		}
	}
}

func TestKeyMayHaveItsLineBreaksWritten(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for name, change := range map[string]func(string) string{
		"as they are":       func(s string) string { return s },
		"as backslash n":    func(s string) string { return strings.ReplaceAll(s, "\n", `\n`) },
		"as Windows has it": func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"none at the end":   strings.TrimSpace,
	} {
		if k, err := auth.EdDSA(secret.New(change(p.privatePEM))); err != nil || k.ID() != p.key.ID() {
			t.Errorf("private key with line breaks %s: %v", name, err)
		}
		if k, err := auth.EdDSAPublic(change(p.publicPEM)); err != nil || k.ID() != p.key.ID() {
			t.Errorf("public key with line breaks %s: %v", name, err)
		}
	}
}

func TestKeysRotateBetweenAlgorithms(t *testing.T) {
	t.Parallel()
	first, second := newPair(t), newPair(t)
	shared := key(t, newSecret)
	cases := map[string]struct {
		before auth.Key
		during []auth.Key
	}{
		"from one pair to another":     {first.key, []auth.Key{second.key, first.verifiesOnly}},
		"from a secret to a pair":      {shared, []auth.Key{first.key, shared}},
		"from a pair to a secret":      {first.key, []auth.Key{shared, first.verifiesOnly}},
		"before the new pair may sign": {second.key, []auth.Key{first.key, second.verifiesOnly}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, during, after := tokensOf(t, c.before), tokensOf(t, c.during...), tokensOf(t, c.during[0])
			rotates(t, before, during, after)
		})
	}
}

// TestAlgorithmsAreNotConfused takes tokens that mix the key of one algorithm with another, as forgers do who know all that
// is public.
func TestAlgorithmsAreNotConfused(t *testing.T) {
	t.Parallel()
	p, attacker := newPair(t), newPair(t)
	public, ok := p.private.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("not an Ed25519 key")
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	none := jwt.UnsafeAllowNoneSignatureType
	shared := key(t, newSecret)
	with := func(method jwt.SigningMethod, signing any, kid string) string {
		return forge(t, method, signing, map[string]any{"kid": kid})
	}
	cases := map[string]string{
		"HS256 with the bytes of the public key":   with(jwt.SigningMethodHS256, []byte(public), p.key.ID()),
		"HS256 with the PEM of the public key":     with(jwt.SigningMethodHS256, []byte(p.publicPEM), p.key.ID()),
		"HS256 with the DER of the public key":     with(jwt.SigningMethodHS256, der, p.key.ID()),
		"HS256 with the x of the public key":       with(jwt.SigningMethodHS256, []byte(base64.RawURLEncoding.EncodeToString(public)), p.key.ID()),
		"HS256 with the secret under the pair's":   with(jwt.SigningMethodHS256, []byte(newSecret), p.key.ID()),
		"HS256 with the public key as the secret":  with(jwt.SigningMethodHS256, []byte(public), shared.ID()),
		"HS512 with the secret":                    with(jwt.SigningMethodHS512, []byte(newSecret), shared.ID()),
		"EdDSA under the kid of the secret":        with(jwt.SigningMethodEdDSA, p.private, shared.ID()),
		"EdDSA of somebody else":                   with(jwt.SigningMethodEdDSA, attacker.private, p.key.ID()),
		"EdDSA of somebody else under his own kid": with(jwt.SigningMethodEdDSA, attacker.private, attacker.key.ID()),
		"none under the kid of the pair":           with(jwt.SigningMethodNone, none, p.key.ID()),
		"none under the kid of the secret":         with(jwt.SigningMethodNone, none, shared.ID()),
		"RS256 under the kid of the secret":        with(jwt.SigningMethodRS256, rsaKey, shared.ID()),
		"RS256 under the kid of the pair":          with(jwt.SigningMethodRS256, rsaKey, p.key.ID()),
		"ES256 under the kid of the pair":          with(jwt.SigningMethodES256, ecKey, p.key.ID()),
	}
	verifiers := map[string]*auth.Tokens{
		"the pair":                      tokensOf(t, p.key),
		"the pair, before it a secret":  tokensOf(t, p.key, shared),
		"a secret, before it the pair":  tokensOf(t, shared, p.verifiesOnly),
		"a secret that nobody mentions": tokensOf(t, key(t, oldSecret)),
	}
	for name, token := range cases {
		for ring, verifier := range verifiers {
			if _, err := verifier.Verify(token); err == nil || fault.Of(err).Code != "token.invalid" {
				t.Errorf("%s, verified by %s: %v", name, ring, err)
			}
		}
	}
	for ring, good := range map[string]bool{"the pair": true, "a secret, before it the pair": true, "a secret that nobody mentions": false} {
		_, err := verifiers[ring].Verify(with(jwt.SigningMethodEdDSA, p.private, p.key.ID()))
		if (err == nil) != good {
			t.Errorf("an honest token, verified by %s, or the cases above prove nothing: %v", ring, err)
		}
	}
}

func TestUnusableKeysAreRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	legacy := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	hollow := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("hollow")}))
	}
	body := strings.Split(p.privatePEM, "\n")[1]
	private := map[string]struct{ text, says string }{
		"empty":                        {"", "not PEM"},
		"no PEM":                       {body, "not PEM"},
		"cut":                          {p.privatePEM[:40], "not PEM"},
		"the public half":              {p.publicPEM, "is of type PUBLIC KEY, not PRIVATE KEY"},
		"an RSA key":                   {authtest.Private(t, rsaKey), "*rsa.PrivateKey, not an Ed25519 key"},
		"an RSA key in its old form":   {legacy, "is of type RSA PRIVATE KEY"},
		"a key to exchange keys with":  {authtest.Private(t, exchange), "not an Ed25519 key"},
		"a block without a key":        {hollow("PRIVATE KEY"), "no PKCS #8 key"},
		"a key with a password":        {hollow("ENCRYPTED PRIVATE KEY"), "is of type ENCRYPTED PRIVATE KEY"},
		"two keys":                     {p.privatePEM + p.privatePEM, "follows"},
		"a key with its public behind": {p.privatePEM + p.publicPEM, "follows"},
	}
	for name, c := range private {
		_, err := auth.EdDSA(secret.New(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("private key that is %s: %v, want %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), body) {
			t.Errorf("the error for %s holds the key: %v", name, err)
		}
	}
	public := map[string]struct{ text, says string }{
		"empty":                 {"", "not PEM"},
		"the private half":      {p.privatePEM, "is of type PRIVATE KEY, not PUBLIC KEY"},
		"an RSA key":            {authtest.Public(t, &rsaKey.PublicKey), "*rsa.PublicKey, not an Ed25519 key"},
		"a block without a key": {hollow("PUBLIC KEY"), "no SPKI key"},
		"two keys":              {p.publicPEM + p.publicPEM, "follows"},
	}
	for name, c := range public {
		if _, err := auth.EdDSAPublic(c.text); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("public key that is %s: %v, want %q", name, err, c.says)
		} else if strings.Contains(err.Error(), body) {
			t.Errorf("the error for %s holds the private key: %v", name, err)
		}
	}
	if _, err := auth.NewKeyring(p.verifiesOnly); err == nil || !strings.Contains(err.Error(), "cannot sign") {
		t.Errorf("a keyring that signs with a public key: %v", err)
	}
	if _, err := auth.NewKeyring(p.key, p.verifiesOnly); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a keyring with both halves of one key: %v", err)
	}
}
