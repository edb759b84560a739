package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/tenant"
)

// RotationGrace is how long a spent refresh token may be shown again by a client that sent it twice or lost the answer.
const RotationGrace = 30 * time.Second

// RefreshToken is one link in the chain of tokens that a login grows, called its family. Only the token's hash is stored.
type RefreshToken struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	UserID         uuid.UUID  `gorm:"column:user_id"`
	FamilyID       uuid.UUID  `gorm:"column:family_id"`
	TokenHash      []byte     `gorm:"column:token_hash" json:"-"`
	ExpiresAt      time.Time  `gorm:"column:expires_at"`
	UsedAt         *time.Time `gorm:"column:used_at"`
	ReplacedBy     *uuid.UUID `gorm:"column:replaced_by"`
	// RevokedAt on any token revokes the whole family.
	RevokedAt     *time.Time `gorm:"column:revoked_at"`
	RevokedReason string     `gorm:"column:revoked_reason"`
	UserAgent     string     `gorm:"column:user_agent"`
	IP            string     `gorm:"column:ip"`
	CreatedAt     time.Time  `gorm:"column:created_at"`
}

// TableName implements GORM's Tabler.
func (RefreshToken) TableName() string { return "refresh_tokens" }

// FindRefreshToken finds whose refresh token has this hash, before the tenant is known. It does not say whether the token is
// still good: Rotate does, inside the tenant. An unknown hash is fault.NotFound.
func (s *Store) FindRefreshToken(ctx context.Context, hash []byte) (user uuid.UUID, t tenant.ID, err error) {
	return s.findOwner(ctx, "SELECT user_id, organization_id FROM auth_find_refresh_token($1)", hash, "refresh_token")
}

// RefreshTokens is the repository of refresh tokens within a tenant.
type RefreshTokens struct{ tx *Tx }

// RefreshTokens returns the refresh tokens of the transaction's tenant.
func (tx *Tx) RefreshTokens() RefreshTokens { return RefreshTokens{tx} }

// Create writes a token. Without a family it starts one, which takes the token's id. A login opens its session with Open.
func (r RefreshTokens) Create(t *RefreshToken) error {
	if err := r.tx.own(&t.ID, &t.OrganizationID); err != nil {
		return err
	}
	if t.FamilyID == uuid.Nil {
		t.FamilyID = t.ID
	}
	return explain(r.tx.db.Create(t).Error, "create refresh token")
}

// RotationOutcome says what became of an attempt to refresh.
type RotationOutcome string

// The outcomes. The first two are success.
const (
	// TokenRotated: the token was good, is spent now, and its successor is stored.
	TokenRotated RotationOutcome = "rotated"
	// TokenReplayed: the token was spent less than RotationGrace ago. Its successor stands; none was stored.
	TokenReplayed RotationOutcome = "replayed"
	// TokenReused: the token was spent longer ago, so somebody has a copy. The family is revoked now.
	TokenReused RotationOutcome = "reused"
	// TokenExpired: the token's time is over.
	TokenExpired RotationOutcome = "expired"
	// TokenRevoked: the family was revoked before.
	TokenRevoked RotationOutcome = "revoked"
	// TokenUnknown: there is no such token.
	TokenUnknown RotationOutcome = "unknown"
)

// Rotation is what Rotate did.
type Rotation struct {
	Outcome RotationOutcome
	// Token is the token that was shown; zero when it is unknown.
	Token RefreshToken
	// Successor is the token that is good from now on; zero unless the outcome is TokenRotated or TokenReplayed.
	Successor RefreshToken
}

// NextToken is the successor that Rotate stores.
type NextToken struct {
	TokenHash []byte
	ExpiresAt time.Time
	UserAgent string
	IP        string
}

// Rotate spends the token with this hash and stores its successor, in one statement: of any number of simultaneous attempts
// one gets TokenRotated and the others TokenReplayed. A successor whose text derives from the spent token's can be handed out again on
// TokenReplayed, where Successor.TokenHash proves that it is the same.
//
// Bad tokens are an outcome and not an error, because the transaction must commit for the family of a reused token to be
// revoked: return nil from InTenant's function and refuse the request after it.
func (r RefreshTokens) Rotate(hash []byte, next NextToken) (Rotation, error) {
	successor := RefreshToken{
		TokenHash: next.TokenHash, ExpiresAt: next.ExpiresAt, UserAgent: next.UserAgent, IP: next.IP,
		CreatedAt: r.tx.db.NowFunc(),
	}
	if err := r.tx.own(&successor.ID, &successor.OrganizationID); err != nil {
		return Rotation{}, err
	}
	var judged []struct {
		Token   RefreshToken `gorm:"embedded"`
		Outcome RotationOutcome
	}
	err := r.tx.db.Raw(rotate, map[string]any{
		"tenant": r.tx.tenant.UUID(), "hash": hash, "grace": RotationGrace.Seconds(),
		"next_id": successor.ID, "next_hash": next.TokenHash, "next_expires_at": next.ExpiresAt,
		"user_agent": next.UserAgent, "ip": next.IP, "created_at": successor.CreatedAt,
	}).Scan(&judged).Error
	if err != nil {
		return Rotation{}, explain(err, "rotate refresh token")
	}
	if len(judged) == 0 {
		return Rotation{Outcome: TokenUnknown}, nil
	}
	done := Rotation{Outcome: judged[0].Outcome, Token: judged[0].Token}
	switch done.Outcome { //nolint:exhaustive // nothing follows from the others
	case TokenRotated:
		successor.UserID, successor.FamilyID = done.Token.UserID, done.Token.FamilyID
		done.Successor = successor
	case TokenReplayed:
		// Another transaction may have stored the successor while this one waited: only a new statement sees it.
		standing, err := take[RefreshToken](within[RefreshToken](r.tx).Where("id = ?", *done.Token.ReplacedBy), "refresh_token")
		if err != nil {
			return Rotation{}, err
		}
		done.Successor = *standing
	case TokenReused:
		// Nobody knows who showed the token, so nobody is named.
		r.tx.accessChanged = true
		r.tx.Audit(nounSession, "revoke_reused", done.Token.FamilyID, nil, map[string]any{"user_id": done.Token.UserID})
	}
	return done, nil
}

// rotate judges the token under its row lock, so that whoever waited for the lock judges what the one before left behind.
//
//nolint:unqueryvet // the row goes through whole, whatever columns it has
const rotate = `
WITH shown AS (
	SELECT t.*, t.revoked_at IS NOT NULL OR EXISTS (SELECT FROM refresh_tokens f WHERE f.organization_id = t.organization_id
		AND f.family_id = t.family_id AND f.revoked_at IS NOT NULL) AS family_revoked
	FROM refresh_tokens t WHERE t.organization_id = @tenant AND t.token_hash = @hash FOR UPDATE
), judged AS (
	SELECT shown.*, CASE
		WHEN family_revoked THEN 'revoked'
		WHEN expires_at <= clock_timestamp() THEN 'expired'
		WHEN used_at IS NULL THEN 'rotated'
		WHEN used_at > clock_timestamp() - make_interval(secs => @grace) THEN 'replayed'
		ELSE 'reused' END AS outcome
	FROM shown
), successor AS (
	INSERT INTO refresh_tokens (id, organization_id, user_id, family_id, token_hash, expires_at, user_agent, ip, created_at)
	SELECT @next_id, organization_id, user_id, family_id, @next_hash, @next_expires_at, @user_agent, @ip, @created_at
	FROM judged WHERE outcome = 'rotated'
), spent AS (
	UPDATE refresh_tokens t SET used_at = clock_timestamp(), replaced_by = @next_id
	FROM judged WHERE judged.outcome = 'rotated' AND t.id = judged.id AND t.organization_id = judged.organization_id
), revoked AS (
	UPDATE refresh_tokens t SET revoked_at = clock_timestamp(), revoked_reason = 'reused'
	FROM judged WHERE judged.outcome = 'reused' AND t.family_id = judged.family_id
		AND t.organization_id = judged.organization_id AND t.revoked_at IS NULL
)
SELECT * FROM judged`
