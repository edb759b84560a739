package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// open starts a session of the demonstration member of Acme, whose password hash is "verified" then.
func (w *world) open(token string) store.RefreshToken {
	w.t.Helper()
	w.asOwner("UPDATE users SET password_hash = 'verified' WHERE id = $1", memberAcme)
	t := store.RefreshToken{
		UserID: memberAcme, TokenHash: hashOf(token), ExpiresAt: time.Now().Add(time.Hour), IP: "192.0.2.1", UserAgent: token,
	}
	w.in(w.acme, func(tx *store.Tx) error { return tx.RefreshTokens().Open(&t, "verified", "verified") })
	return t
}

func (w *world) sessions(user uuid.UUID, page store.Page) (listed store.Listed[store.Session]) {
	w.t.Helper()
	err := w.View(w.t.Context(), w.acme, func(tx *store.Tx) (err error) {
		listed, err = tx.RefreshTokens().Sessions(user, page)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return listed
}

func TestSessionsAreTheLoginsThatCanStillBeUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	phone, laptop, gone, old := w.open("phone"), w.open("laptop"), w.open("gone"), w.open("old")
	w.wantOutcome(w.rotate("phone", "phone again"), store.TokenRotated)
	w.in(w.acme, func(tx *store.Tx) error { return tx.RefreshTokens().End(memberAcme, gone.FamilyID, store.EndedByUser) })
	w.asOwner("UPDATE refresh_tokens SET expires_at = now() WHERE id = $1", old.ID)

	listed := w.sessions(memberAcme, store.Page{Count: true})
	if len(listed.Rows) != 2 || *listed.Total != 2 || listed.Rows[0].ID != laptop.FamilyID || listed.Rows[1].ID != phone.FamilyID {
		t.Fatalf("sessions %+v", listed.Rows)
	}
	if s := listed.Rows[1]; !s.LastUsed.After(s.CreatedAt) || s.UserAgent != "test" || s.IP != "192.0.2.1" {
		t.Errorf("a refreshed session is %+v", s)
	}
	first := w.sessions(memberAcme, store.Page{Limit: 1})
	if second := w.sessions(memberAcme, store.Page{Limit: 1, After: first.Next}); len(second.Rows) != 1 || second.Rows[0].ID != phone.FamilyID {
		t.Errorf("the second page is %+v", second.Rows)
	}
	if others := w.sessions(adminAcme, store.Page{}); len(others.Rows) != 0 {
		t.Errorf("somebody else has %+v", others.Rows)
	}
}

func TestASessionIsEndedByItsOwnUserOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.open("phone")
	end := func(user uuid.UUID) func(*store.Tx) error {
		return func(tx *store.Tx) error { return tx.RefreshTokens().End(user, s.FamilyID, store.EndedByUser) }
	}
	w.refused(w.acme, fault.NotFound, "session.not_found", end(adminAcme))
	w.in(w.acme, end(memberAcme))
	w.refused(w.acme, fault.NotFound, "session.not_found", end(memberAcme))
	var actions []string
	for _, e := range w.audited() {
		actions = append(actions, e.Action)
	}
	if !slices.Equal(actions, []string{"session.create", "session.delete"}) {
		t.Errorf("audited %q", actions)
	}
}

func TestAPasswordThatChangedWhileItWasVerifiedOpensNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for name, prepare := range map[string]string{
		"the password changed":     "UPDATE users SET password_hash = 'another' WHERE id = $1",
		"the user was deactivated": "UPDATE users SET is_active = false WHERE id = $1",
		"the organization was deactivated": `UPDATE organizations SET is_active = false
			WHERE id = (SELECT organization_id FROM users WHERE id = $1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			w.open("before")
			w.asOwner(prepare, memberAcme)
			w.refused(w.acme, fault.NotFound, "user.not_found", func(tx *store.Tx) error {
				return tx.RefreshTokens().Open(&store.RefreshToken{UserID: memberAcme, TokenHash: hashOf("x")}, "verified", "verified")
			})
		})
	}
	w.open("first")
	w.in(w.acme, func(tx *store.Tx) error {
		return tx.RefreshTokens().Open(
			&store.RefreshToken{UserID: memberAcme, TokenHash: hashOf("x"), ExpiresAt: time.Now().Add(time.Hour)}, "verified", "costlier")
	})
	w.in(w.acme, func(tx *store.Tx) error {
		u, err := tx.Users().Get(memberAcme)
		if err == nil && (u.PasswordHash != "costlier" || u.LastLogin == nil) {
			t.Errorf("user is %+v", u)
		}
		return err
	})
}

func (w *world) credential(of func(store.Credentials) (*store.Credential, error)) (c *store.Credential, err error) {
	w.t.Helper()
	err = w.View(w.t.Context(), w.acme, func(tx *store.Tx) (err error) {
		c, err = of(tx.Credentials())
		return err
	})
	return c, err
}

func TestASessionAllowsWhatItsUserMayUntilItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.open("phone")
	read := func(user, session uuid.UUID) *store.Credential {
		t.Helper()
		c, err := w.credential(func(r store.Credentials) (*store.Credential, error) { return r.OfSession(user, session) })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := read(memberAcme, s.FamilyID)
	if c.UserID != memberAcme || c.Role != "Member" || !c.Active || c.Revoked || c.Superuser || len(c.Permissions) == 0 || len(c.Projects) != 1 {
		t.Errorf("got %+v", c)
	}
	if !read(adminAcme, s.FamilyID).Revoked || !read(memberAcme, uuid.New()).Revoked {
		t.Error("a session that is not the user's is good")
	}
	// The revocation may miss a token that was made at the same moment: one mark is enough.
	w.wantOutcome(w.rotate("phone", "again"), store.TokenRotated)
	w.asOwner("UPDATE refresh_tokens SET revoked_at = now() WHERE id = $1", s.ID)
	if !read(memberAcme, s.FamilyID).Revoked {
		t.Error("a revoked session is good")
	}
	w.asOwner("UPDATE users SET is_active = false WHERE id = $1", memberAcme)
	if read(memberAcme, s.FamilyID).Active {
		t.Error("a deactivated user is active")
	}
	_, err := w.credential(func(r store.Credentials) (*store.Credential, error) { return r.OfSession(uuid.New(), s.FamilyID) })
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown user: %v", err)
	}
}

func TestAnAPIKeyIsFoundByItsHashUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	key := store.APIKey{
		UserID: memberAcme, Name: "CI", Prefix: "ck_abc", KeyHash: hashOf("key"), Scopes: store.StringArray{"jobs:read"}, ExpiresAt: &expires,
	}
	w.in(w.acme, func(tx *store.Tx) error { return tx.APIKeys().Create(&key) })
	read := func(token string) (*store.Credential, error) {
		return w.credential(func(r store.Credentials) (*store.Credential, error) { return r.OfKey(hashOf(token)) })
	}
	c, err := read("key")
	if err != nil || c.UserID != memberAcme || c.KeyID != key.ID || !slices.Equal(c.Scopes, []string{"jobs:read"}) || !c.ExpiresAt.Equal(expires) ||
		c.LastUsedAt != nil || c.Revoked || len(c.Permissions) < 2 {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := read("another"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown key: %v", err)
	}

	at := time.Now().UTC().Truncate(time.Microsecond)
	for _, use := range []struct {
		at time.Time
		ip string
	}{{at, "192.0.2.1"}, {at.Add(store.UseKept - time.Second), "192.0.2.2"}} {
		w.in(w.acme, func(tx *store.Tx) error { return tx.APIKeys().Used(key.ID, use.at, use.ip) })
	}
	w.in(w.acme, func(tx *store.Tx) error {
		k, err := tx.APIKeys().Get(key.ID)
		if err == nil && (!k.LastUsedAt.Equal(at) || k.LastUsedIP != "192.0.2.1" || !k.UpdatedAt.Equal(key.UpdatedAt)) {
			t.Errorf("used, the key is %+v", k)
		}
		return err
	})

	w.in(w.acme, func(tx *store.Tx) error { return tx.APIKeys().Delete(key.ID, nil) })
	if c, err := read("key"); err != nil || !c.Revoked {
		t.Errorf("a deleted key: %+v, %v", c, err)
	}
	w.refused(w.acme, fault.NotFound, "api_key.not_found", func(tx *store.Tx) error { return tx.APIKeys().Delete(key.ID, nil) })
	w.refused(w.acme, fault.NotFound, "api_key.not_found", func(tx *store.Tx) error { _, err := tx.APIKeys().Get(key.ID); return err })
	w.in(w.acme, func(tx *store.Tx) error {
		listed, err := tx.APIKeys().List(store.APIKeyFilter{})
		if err == nil && len(listed.Rows) != 0 {
			t.Errorf("a deleted key is listed: %+v", listed.Rows)
		}
		return err
	})
}

func TestWhatChangesAccessIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	told := 0
	s, err := store.Open(t.Context(), store.Config{URL: w.db.AppURL, AccessChanged: func(_ context.Context, id tenant.ID) {
		if id == w.acme {
			told++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	session := w.open("phone")
	w.wantOutcome(w.rotate("phone", "again"), store.TokenRotated)
	key := store.APIKey{UserID: memberAcme, Name: "CI", Prefix: "ck_", KeyHash: hashOf("key"), Scopes: store.StringArray{"jobs:read"}}
	for _, c := range []struct {
		name string
		tell bool
		fn   func(*store.Tx) error
	}{
		{"a new key", false, func(tx *store.Tx) error { return tx.APIKeys().Create(&key) }},
		{"a deleted key", true, func(tx *store.Tx) error { return tx.APIKeys().Delete(key.ID, nil) }},
		{"a new password", true, func(tx *store.Tx) error { return tx.Users().UpdatePassword(memberAcme, "new") }},
		{"a reused token", true, func(tx *store.Tx) error {
			w.asOwner("UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds' WHERE used_at IS NOT NULL")
			done, err := tx.RefreshTokens().Rotate(hashOf("phone"), store.NextToken{TokenHash: hashOf("x")})
			w.wantOutcome(done, store.TokenReused)
			return err
		}},
		{"nothing to revoke", false, func(tx *store.Tx) error {
			_, err := tx.RefreshTokens().RevokeFamily(session.FamilyID, "again")
			return err
		}},
	} {
		before := told
		if err := s.InTenant(t.Context(), w.acme, c.fn); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if (told > before) != c.tell {
			t.Errorf("%s: told %v, want %v", c.name, told > before, c.tell)
		}
	}
}
