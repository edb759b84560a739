package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

const (
	newSecret = "0123456789abcdef0123456789abcdef"
	oldSecret = "fedcba9876543210fedcba9876543210"
)

// noon is a moment between two seconds, because tokens know only whole ones.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 600_000_000, time.UTC)

func key(t *testing.T, s string) auth.Key {
	t.Helper()
	k, err := auth.HS256(secret.New(s))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keyring(t *testing.T, secrets ...string) *auth.Keyring {
	t.Helper()
	keys := make([]auth.Key, 0, len(secrets))
	for _, s := range secrets {
		keys = append(keys, key(t, s))
	}
	ring, err := auth.NewKeyring(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// tokensAt issues and verifies with the given secrets at noon plus the offset.
func tokensAt(t *testing.T, offset time.Duration, change func(*auth.TokenOptions), secrets ...string) *auth.Tokens {
	t.Helper()
	opts := auth.TokenOptions{
		Keys: keyring(t, secrets...), Issuer: "copilot", Audience: "copilot-api",
		Now: func() time.Time { return noon.Add(offset) },
	}
	if change != nil {
		change(&opts)
	}
	tokens, err := auth.NewTokens(opts)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func newSubject(t *testing.T) auth.Subject {
	t.Helper()
	return auth.Subject{UserID: uuid.New(), Tenant: tenant.FromUUID(uuid.New()), SessionID: uuid.New(), Superuser: true}
}

func issue(t *testing.T, tokens *auth.Tokens, s auth.Subject) string {
	t.Helper()
	token, _, err := tokens.Issue(s)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokenCarriesItsSubject(t *testing.T) {
	t.Parallel()
	tokens := tokensAt(t, 0, nil, newSecret)
	subject := newSubject(t)
	token, expires, err := tokens.Issue(subject)
	if err != nil {
		t.Fatal(err)
	}
	if want := noon.Truncate(time.Second).Add(30 * time.Minute); !expires.Equal(want) {
		t.Errorf("expires at %v, want %v", expires, want)
	}
	access, err := tokens.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if access.Subject != subject || !access.ExpiresAt.Equal(expires) || !access.IssuedAt.Equal(noon.Truncate(time.Second)) {
		t.Errorf("got %+v of %+v", access, subject)
	}
	again, err := tokens.Verify(issue(t, tokens, subject))
	if err != nil || again.TokenID == access.TokenID || access.TokenID == uuid.Nil {
		t.Errorf("token ids %v and %v, %v", access.TokenID, again.TokenID, err)
	}
}

func TestTokenOnTheWire(t *testing.T) {
	t.Parallel()
	subject := newSubject(t)
	subject.Superuser = false
	parts := strings.Split(issue(t, tokensAt(t, 0, nil, newSecret), subject), ".")
	var header, body map[string]any
	for i, into := range []*map[string]any{&header, &body} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	if header["alg"] != "HS256" || header["typ"] != "at+jwt" || header["kid"] != key(t, newSecret).ID() {
		t.Errorf("header: %v", header)
	}
	delete(body, "jti")
	got, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"aud":["copilot-api"],"exp":1772368200,"iat":1772366400,"iss":"copilot","nbf":1772366400,"org":"` + subject.Tenant.String() +
		`","sid":"` + subject.SessionID.String() + `","sub":"` + subject.UserID.String() + `","typ":"access"}`
	if string(got) != want {
		t.Errorf("body %s\nwant %s", got, want)
	}
}

func TestTokenIsRefused(t *testing.T) {
	t.Parallel()
	verifier := tokensAt(t, 0, nil, newSecret, oldSecret)
	subject := newSubject(t)
	changed := func(claim string, value any) string {
		return forge(t, jwt.SigningMethodHS256, []byte(newSecret), map[string]any{claim: value})
	}
	other := func(change func(*auth.TokenOptions)) string {
		return issue(t, tokensAt(t, 0, change, newSecret), subject)
	}
	good := issue(t, verifier, subject)
	parts := strings.Split(good, ".")
	cases := map[string]struct{ token, code string }{
		"that has expired":               {issue(t, tokensAt(t, -31*time.Minute, nil, newSecret), subject), "token.expired"},
		"that has expired, with old key": {issue(t, tokensAt(t, -31*time.Minute, nil, oldSecret), subject), "token.expired"},
		"that has expired and is foreign": {
			issue(t, tokensAt(t, -31*time.Minute, func(o *auth.TokenOptions) { o.Issuer = "other" }, newSecret), subject), "token.invalid",
		},
		"from the future":                   {issue(t, tokensAt(t, time.Minute, nil, newSecret), subject), "token.invalid"},
		"of another issuer":                 {other(func(o *auth.TokenOptions) { o.Issuer = "other" }), "token.invalid"},
		"for another audience":              {other(func(o *auth.TokenOptions) { o.Audience = "other" }), "token.invalid"},
		"signed by an unknown key":          {issue(t, tokensAt(t, 0, nil, strings.Repeat("x", 32)), subject), "token.invalid"},
		"that is empty":                     {"", "token.invalid"},
		"that is garbage":                   {"a.b.c", "token.invalid"},
		"that is enormous":                  {good + strings.Repeat("A", 1<<20), "token.invalid"},
		"with its signature cut off":        {parts[0] + "." + parts[1] + ".", "token.invalid"},
		"with another body":                 {parts[0] + "." + strings.Split(other(nil), ".")[1] + "." + parts[2], "token.invalid"},
		"that is a refresh token":           {"rt_" + strings.Repeat("A", 70), "token.invalid"},
		"with alg none":                     {forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "token.invalid"},
		"with the key of another algorithm": {forge(t, jwt.SigningMethodHS512, []byte(newSecret), nil), "token.invalid"},
		"of another type":                   {changed("typ", "refresh"), "token.invalid"},
		"of another type, expired": {
			forge(t, jwt.SigningMethodHS256, []byte(newSecret), map[string]any{"typ": "refresh", "exp": noon.Add(-time.Hour).Unix()}),
			"token.invalid",
		},
		"without an expiry":                     {changed("exp", nil), "token.invalid"},
		"without an issue time":                 {changed("iat", nil), "token.invalid"},
		"without a tenant":                      {changed("org", ""), "token.invalid"},
		"of the nil tenant":                     {changed("org", uuid.Nil), "token.invalid"},
		"without a user":                        {changed("sub", "root"), "token.invalid"},
		"without a session":                     {changed("sid", nil), "token.invalid"},
		"without an id":                         {changed("jti", 7), "token.invalid"},
		"without a key id":                      {changed("kid", nil), "token.invalid"},
		"that is no access token by its header": {changed("header typ", "JWT"), "token.invalid"},
		"without a type in its header":          {changed("header typ", nil), "token.invalid"},
		"that demands an extension":             {changed("header crit", []string{"b64"}), "token.invalid"},
		"that is not good yet":                  {changed("nbf", noon.Add(time.Minute).Unix()), "token.invalid"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			access, err := verifier.Verify(c.token)
			f := fault.Of(err)
			if f == nil || f.Kind != fault.Unauthenticated || f.Code != c.code {
				t.Fatalf("Verify = %v, want %s", err, c.code)
			}
			if access != (auth.Access{}) {
				t.Errorf("a refused token gives %+v", access)
			}
			if len(c.token) > 20 && strings.Contains(err.Error(), c.token[len(c.token)-20:]) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
	if _, err := verifier.Verify(forge(t, jwt.SigningMethodHS256, []byte(newSecret), nil)); err != nil {
		t.Errorf("the forger's own unchanged token is good, or the cases above prove nothing: %v", err)
	}
}

// forge signs a good body with what was changed in it; a nil value leaves the claim out. "kid" and what begins with "header " are
// headers.
func forge(t *testing.T, method jwt.SigningMethod, signing any, changed map[string]any) string {
	t.Helper()
	body := jwt.MapClaims{
		"iss": "copilot", "aud": "copilot-api", "typ": "access", "sub": uuid.New(), "jti": uuid.New(), "sid": uuid.New(), "org": uuid.New(),
		"iat": noon.Unix(), "exp": noon.Add(time.Minute).Unix(),
	}
	token := jwt.NewWithClaims(method, body)
	token.Header["typ"], token.Header["kid"] = "at+jwt", key(t, newSecret).ID()
	for name, value := range changed {
		into := map[string]any(body)
		if header, ok := strings.CutPrefix(name, "header "); ok || name == "kid" {
			into, name = token.Header, header
		}
		if value == nil {
			delete(into, name)
		} else {
			into[name] = value
		}
	}
	signed, err := token.SignedString(signing)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	before := tokensAt(t, 0, nil, oldSecret)
	during := tokensAt(t, 0, nil, newSecret, oldSecret)
	after := tokensAt(t, 0, nil, newSecret)
	rotates(t, before, during, after)
}

// rotates checks that a new key takes over from the previous one by way of a time in which both are good.
func rotates(t *testing.T, before, during, after *auth.Tokens) {
	t.Helper()
	token := issue(t, before, newSubject(t))
	if _, err := during.Verify(token); err != nil {
		t.Errorf("the previous key does not verify: %v", err)
	}
	if _, err := after.Verify(token); fault.Of(err).Code != "token.invalid" {
		t.Errorf("a retired key verifies: %v", err)
	}
	if _, err := after.Verify(issue(t, during, newSubject(t))); err != nil {
		t.Errorf("the new key does not sign: %v", err)
	}
}

func TestClocksMayDifferALittle(t *testing.T) {
	t.Parallel()
	verifier := tokensAt(t, 0, nil, newSecret)
	for offset, good := range map[time.Duration]bool{
		4 * time.Second: true, 10 * time.Second: false, -30*time.Minute - 3*time.Second: true, -30*time.Minute - 10*time.Second: false,
	} {
		if _, err := verifier.Verify(issue(t, tokensAt(t, offset, nil, newSecret), newSubject(t))); (err == nil) != good {
			t.Errorf("a token issued at noon%+v: %v", offset, err)
		}
	}
}

func TestWeakOrMissingSettingsAreRefused(t *testing.T) {
	t.Parallel()
	short := strings.Repeat("s", 31)
	if _, err := auth.HS256(secret.New(short)); err == nil || strings.Contains(err.Error(), short) {
		t.Errorf("a secret of 31 bytes: %v", err)
	}
	if _, err := auth.NewKeyring(auth.Key{}); err == nil {
		t.Error("a zero key was accepted")
	}
	if _, err := auth.NewKeyring(key(t, newSecret), key(t, newSecret)); err == nil {
		t.Error("one key twice was accepted")
	}
	ring := keyring(t, newSecret)
	for name, opts := range map[string]auth.TokenOptions{
		"no keys": {Issuer: "i", Audience: "a"}, "no issuer": {Keys: ring, Audience: "a"}, "no audience": {Keys: ring, Issuer: "i"},
		"a negative lifetime": {Keys: ring, Issuer: "i", Audience: "a", TTL: -1},
		"a long issuer":       {Keys: ring, Issuer: strings.Repeat("i", 257), Audience: "a"},
		"a long audience":     {Keys: ring, Issuer: "i", Audience: strings.Repeat("a", 257)},
	} {
		if _, err := auth.NewTokens(opts); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	tokens := tokensAt(t, 0, nil, newSecret)
	for name, change := range map[string]func(*auth.Subject){
		"no user":    func(s *auth.Subject) { s.UserID = uuid.Nil },
		"no tenant":  func(s *auth.Subject) { s.Tenant = tenant.ID{} },
		"no session": func(s *auth.Subject) { s.SessionID = uuid.Nil },
	} {
		s := newSubject(t)
		change(&s)
		if _, _, err := tokens.Issue(s); err == nil {
			t.Errorf("a token for a subject with %s was issued", name)
		}
	}
}

func TestTokenVerifiesOnTheRealClock(t *testing.T) {
	t.Parallel()
	tokens := tokensAt(t, 0, func(o *auth.TokenOptions) { o.Now = nil }, newSecret)
	if _, err := tokens.Verify(issue(t, tokens, newSubject(t))); err != nil {
		t.Error(err)
	}
}

func TestARememberedTokenStillEnds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tokens, err := auth.NewTokens(auth.TokenOptions{
		Keys: keyring(t, newSecret), Issuer: "i", Audience: "a", TTL: time.Minute, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := tokens.Issue(auth.Subject{UserID: uuid.New(), Tenant: tenant.FromUUID(uuid.New()), SessionID: uuid.New()})
	if err != nil {
		t.Fatal(err)
	}
	first, err := tokens.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tokens.Verify(token); err != nil || again != first {
		t.Errorf("got %+v, %v", again, err)
	}
	now = now.Add(2 * time.Minute)
	if _, err := tokens.Verify(token); fault.Of(err).Code != "token.expired" {
		t.Errorf("got %v", err)
	}
}
