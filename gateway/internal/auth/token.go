package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// AccessTTL is how long an access token lives where nothing else is said.
const AccessTTL = 30 * time.Minute

// accessType is the typ claim of an access token; a token made for another purpose with the same key has another.
const accessType = "access"

// headerType is the typ header of an access token, by RFC 9068. Others who hold our public keys tell by it that a token is meant
// for an API.
const headerType = "at+jwt"

// leeway is how far the clocks of two gateways may differ.
const leeway = 5 * time.Second

// maxTokenLength bounds what is parsed at all; a token of ours has less than 800 bytes and its issuer and audience.
const maxTokenLength = 4096

// MaxNameLength is the length in bytes of the longest issuer and audience, so that tokens keep far below what is parsed.
const MaxNameLength = 256

// Subject is whom an access token speaks for.
type Subject struct {
	// UserID is the user's id.
	UserID uuid.UUID
	// Tenant is the user's organization.
	Tenant tenant.ID
	// SessionID is the login that the token comes from; ending the session ends its tokens.
	SessionID uuid.UUID
	// Superuser reports that the user runs the platform, across tenants.
	Superuser bool
}

// Access is a verified access token.
type Access struct {
	Subject

	// TokenID is the token's own id, its jti claim.
	TokenID uuid.UUID
	// IssuedAt is when the token was made, to the second.
	IssuedAt time.Time
	// ExpiresAt is when it ends, to the second; whatever was opened with it, such as a stream, ends then too.
	ExpiresAt time.Time
}

// TokenOptions are the settings of Tokens.
type TokenOptions struct {
	// Keys sign and verify. Required.
	Keys *Keyring
	// Issuer is the iss claim, given and demanded. Required; at most MaxNameLength bytes.
	Issuer string
	// Audience is the aud claim, given and demanded. Required; at most MaxNameLength bytes.
	Audience string
	// TTL is how long a token lives; zero means AccessTTL.
	TTL time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Tokens issues and verifies access tokens, which are JWTs. It is safe for many goroutines.
type Tokens struct {
	opts   TokenOptions
	parser *jwt.Parser
	known  verified
}

// NewTokens refuses options without keys, issuer or audience, or with ones that are too long.
func NewTokens(opts TokenOptions) (*Tokens, error) {
	if opts.Keys == nil || opts.Issuer == "" || opts.Audience == "" || opts.TTL < 0 {
		return nil, errors.New("auth: access tokens need keys, an issuer, an audience and no negative lifetime")
	}
	if len(opts.Issuer) > MaxNameLength || len(opts.Audience) > MaxNameLength {
		return nil, fmt.Errorf("auth: an issuer or audience has more than %d bytes", MaxNameLength)
	}
	if opts.TTL == 0 {
		opts.TTL = AccessTTL
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Tokens{opts: opts, parser: jwt.NewParser(
		jwt.WithValidMethods(opts.Keys.methods),
		jwt.WithIssuer(opts.Issuer),
		jwt.WithAudience(opts.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(opts.Now),
		jwt.WithStrictDecoding(),
	)}, nil
}

// KeySet returns the public keys by which others can verify the tokens; none where they are signed with a shared secret.
func (t *Tokens) KeySet() KeySet { return t.opts.Keys.Public() }

// claims are the body of an access token.
type claims struct {
	jwt.RegisteredClaims

	Type      string `json:"typ"`
	Tenant    string `json:"org"`
	Session   string `json:"sid"`
	Superuser bool   `json:"superuser,omitempty"`
}

// Issue makes an access token for the subject and says when it ends. A subject without a user, tenant or session is an error.
func (t *Tokens) Issue(s Subject) (token string, expiresAt time.Time, err error) {
	if s.UserID == uuid.Nil || s.Tenant.IsZero() || s.SessionID == uuid.Nil {
		return "", time.Time{}, errors.New("auth: issue a token for a subject without user, tenant or session")
	}
	now := t.opts.Now().Truncate(time.Second)
	expiresAt = now.Add(t.opts.TTL)
	key := t.opts.Keys.current()
	unsigned := jwt.NewWithClaims(key.method, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    t.opts.Issuer,
			Audience:  jwt.ClaimStrings{t.opts.Audience},
			Subject:   s.UserID.String(),
			ID:        uuid.NewString(),
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(expiresAt),
		},
		Type:      accessType,
		Tenant:    s.Tenant.String(),
		Session:   s.SessionID.String(),
		Superuser: s.Superuser,
	})
	unsigned.Header["typ"] = headerType
	unsigned.Header["kid"] = key.id
	token, err = unsigned.SignedString(key.signing)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign access token: %w", err)
	}
	return token, expiresAt, nil
}

// Verify returns what an access token says, if it was made by this service for this audience and has not ended. It fails with
// fault.Unauthenticated: code "token.expired" for a good token whose time is over, which a refresh mends, and "token.invalid"
// for everything else, which only signing in again does.
func (t *Tokens) Verify(token string) (Access, error) {
	if len(token) > maxTokenLength {
		return Access{}, invalidToken(errors.New("longer than any token of ours"))
	}
	if known, ok := t.known.get(token, t.opts.Now()); ok {
		return known, nil
	}
	var c claims
	if _, err := t.parser.ParseWithClaims(token, &c, t.key); err != nil {
		if onlyExpired(err) && c.Type == accessType {
			return Access{}, fault.Wrap(err, fault.Unauthenticated, "token.expired", "The access token has expired. Refresh it.")
		}
		return Access{}, invalidToken(err)
	}
	access, err := c.access()
	if err != nil {
		return Access{}, invalidToken(err)
	}
	t.known.keep(token, access)
	return access, nil
}

// key returns what verifies a token, if its header is one of ours. It is asked before the signature is checked.
func (t *Tokens) key(token *jwt.Token) (any, error) {
	if token.Header["typ"] != headerType {
		return nil, errors.New("the header is not of an access token")
	}
	// Whoever does not know a critical extension must refuse the token (RFC 7515), and we know none.
	if _, found := token.Header["crit"]; found {
		return nil, errors.New("the header demands an extension")
	}
	return t.opts.Keys.find(token)
}

// onlyExpired reports whether a token's age is all that is wrong with it. The signature is checked before the claims, and
// the errors of all claims are joined.
func onlyExpired(err error) bool {
	if !errors.Is(err, jwt.ErrTokenExpired) {
		return false
	}
	for _, other := range []error{
		jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenUsedBeforeIssued,
		jwt.ErrTokenNotValidYet, jwt.ErrTokenRequiredClaimMissing,
	} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// access reads the claims of a token whose signature and times are good.
func (c *claims) access() (Access, error) {
	if c.Type != accessType {
		return Access{}, errors.New("not an access token")
	}
	user, err := uuid.Parse(c.Subject)
	if err != nil {
		return Access{}, fmt.Errorf("sub claim: %w", err)
	}
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return Access{}, fmt.Errorf("jti claim: %w", err)
	}
	session, err := uuid.Parse(c.Session)
	if err != nil {
		return Access{}, fmt.Errorf("sid claim: %w", err)
	}
	org, err := tenant.Parse(c.Tenant)
	if err != nil {
		return Access{}, fmt.Errorf("org claim: %w", err)
	}
	if c.IssuedAt == nil {
		return Access{}, errors.New("no iat claim")
	}
	return Access{
		Subject:   Subject{UserID: user, Tenant: org, SessionID: session, Superuser: c.Superuser},
		TokenID:   id,
		IssuedAt:  c.IssuedAt.Time,
		ExpiresAt: c.ExpiresAt.Time,
	}, nil
}

func invalidToken(cause error) error {
	return fault.Wrap(cause, fault.Unauthenticated, "token.invalid", "The token is not valid here. Sign in again.")
}
