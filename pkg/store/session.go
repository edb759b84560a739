package store

import (
	"time"

	"github.com/google/uuid"
)

// Session is a login that can still be used: a family of refresh tokens that is neither revoked nor expired.
type Session struct {
	ID        uuid.UUID `gorm:"column:id"` // the family's
	CreatedAt time.Time `gorm:"column:created_at"`
	// LastUsed is when it was last refreshed; IP and UserAgent are those of the client that did.
	LastUsed  time.Time `gorm:"column:last_used"`
	ExpiresAt time.Time `gorm:"column:expires_at"`
	IP        string    `gorm:"column:ip"`
	UserAgent string    `gorm:"column:user_agent"`
}

// TableName implements GORM's Tabler. It is a query and no table.
func (Session) TableName() string { return "sessions" }

const nounSession = "session"

// Sessions returns one page of a user's sessions, newest first.
func (r RefreshTokens) Sessions(user uuid.UUID, page Page) (Listed[Session], error) {
	// Each family has one token that is not spent yet, its newest.
	live := r.tx.db.Raw(`SELECT t.family_id AS id, COALESCE(f.created_at, t.created_at) AS created_at, t.created_at AS last_used,
			t.expires_at, t.ip, t.user_agent
		FROM refresh_tokens t LEFT JOIN refresh_tokens f ON f.organization_id = t.organization_id AND f.id = t.family_id
		WHERE t.organization_id = ? AND t.user_id = ? AND t.used_at IS NULL AND t.revoked_at IS NULL
			AND t.expires_at > clock_timestamp() AND NOT EXISTS (SELECT FROM refresh_tokens x
				WHERE x.organization_id = t.organization_id AND x.family_id = t.family_id AND x.revoked_at IS NOT NULL)`,
		r.tx.tenant.UUID(), user)
	return list[Session](r.tx.db.Table("(?) AS sessions", live), page, nounSession, nil)
}

// Open starts a session for a user whose password was verified against the hash, and records the login. The hash that is kept from
// now on is the same, or one of the same password at another cost. When the user or the organization was deactivated or the
// password changed in the meantime, it is fault.NotFound.
func (r RefreshTokens) Open(t *RefreshToken, verified, kept string) error {
	if err := r.tx.own(&t.ID, &t.OrganizationID); err != nil {
		return err
	}
	t.FamilyID, t.CreatedAt = t.ID, r.tx.db.NowFunc()
	r.tx.ActAs(t.UserID)
	opened := r.tx.db.Exec(`WITH login AS (
			UPDATE users u SET last_login = @now, last_activity = @now, password_hash = @kept FROM organizations o
			WHERE u.organization_id = @tenant AND u.id = @user AND u.password_hash = @verified AND u.is_active
				AND o.id = u.organization_id AND o.is_active
			RETURNING u.id)
		INSERT INTO refresh_tokens (id, organization_id, user_id, family_id, token_hash, expires_at, user_agent, ip, created_at)
		SELECT @id, @tenant, login.id, @id, @hash, @expires, @agent, @ip, @now FROM login`, map[string]any{
		"now": t.CreatedAt, "kept": kept, "verified": verified, "tenant": t.OrganizationID, "user": t.UserID, "id": t.ID,
		"hash": t.TokenHash, "expires": t.ExpiresAt, "agent": t.UserAgent, "ip": t.IP,
	})
	if err := touched(opened, "open a session", nounUser); err != nil {
		return err
	}
	r.tx.Audit(nounSession, "create", t.FamilyID, nil, map[string]any{"user_id": t.UserID, "expires_at": t.ExpiresAt})
	return nil
}

// The reasons for which sessions end.
const (
	EndedByLogout   = "logout"
	EndedByUser     = "ended"
	EndedByPassword = "password_changed"
	// EndedByDeactivation ends all sessions of a user who may no longer log in.
	EndedByDeactivation = "deactivated"
)

// End ends one session of a user: none of its tokens is good any more. One that has ended already, or is somebody else's, is
// fault.NotFound.
func (r RefreshTokens) End(user, session uuid.UUID, reason string) error {
	ended, err := r.revoke("user_id = ? AND family_id = ?", reason, user, session)
	if err != nil {
		return err
	}
	if ended == 0 {
		return notFound(nounSession)
	}
	r.tx.Audit(nounSession, "delete", session, nil, map[string]any{"reason": reason})
	return nil
}

// EndOthers ends all sessions of a user but one. It audits nothing; whoever calls it does.
func (r RefreshTokens) EndOthers(user, kept uuid.UUID, reason string) error {
	_, err := r.revoke("user_id = ? AND family_id <> ?", reason, user, kept)
	return err
}

// RevokeFamily ends one session without asking whose it is, and returns how many tokens it revoked.
func (r RefreshTokens) RevokeFamily(family uuid.UUID, reason string) (int64, error) {
	return r.revoke("family_id = ?", reason, family)
}

// RevokeAllOfUser ends all sessions of a user and returns how many tokens it revoked.
func (r RefreshTokens) RevokeAllOfUser(user uuid.UUID, reason string) (int64, error) {
	return r.revoke("user_id = ?", reason, user)
}

// Prune deletes up to limit of the tokens that expired at least so long ago, and returns how many. A session that is still good
// keeps its first token, which says when it began, and those that revoke it.
func (r RefreshTokens) Prune(expired time.Duration, limit int) (int64, error) {
	tenant, seconds := r.tx.tenant.UUID(), expired.Seconds()
	done := r.tx.db.Exec(`DELETE FROM refresh_tokens WHERE organization_id = ? AND id IN (
			SELECT t.id FROM refresh_tokens t
			WHERE t.organization_id = ? AND t.expires_at < now() - make_interval(secs => ?)
				AND (t.id <> t.family_id AND t.revoked_at IS NULL OR NOT EXISTS (SELECT FROM refresh_tokens good
					WHERE good.organization_id = t.organization_id AND good.family_id = t.family_id
						AND good.expires_at >= now() - make_interval(secs => ?)))
			ORDER BY t.expires_at LIMIT ? FOR UPDATE SKIP LOCKED)`, tenant, tenant, seconds, seconds, limit)
	return done.RowsAffected, explain(done.Error, "prune refresh tokens")
}

func (r RefreshTokens) revoke(condition, reason string, args ...any) (int64, error) {
	done := within[RefreshToken](r.tx).Where(condition+" AND revoked_at IS NULL", args...).
		Updates(map[string]any{"revoked_at": r.tx.db.NowFunc(), "revoked_reason": reason})
	r.tx.accessChanged = r.tx.accessChanged || done.RowsAffected > 0
	return done.RowsAffected, explain(done.Error, "revoke refresh tokens")
}
