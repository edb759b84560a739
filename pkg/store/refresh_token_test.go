package store_test

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

func hashOf(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// login stores the first token of a new family for the demonstration member of Acme.
func (w *world) login(token string) store.RefreshToken {
	w.t.Helper()
	return w.loginAs(memberAcme, token)
}

func (w *world) loginAs(user uuid.UUID, token string) store.RefreshToken {
	w.t.Helper()
	t := store.RefreshToken{UserID: user, TokenHash: hashOf(token), ExpiresAt: time.Now().Add(time.Hour)}
	w.in(w.acme, func(tx *store.Tx) error { return tx.RefreshTokens().Create(&t) })
	return t
}

// rotate refreshes once, in a transaction of its own.
func (w *world) rotate(token, successor string) store.Rotation {
	w.t.Helper()
	var done store.Rotation
	w.in(w.acme, func(tx *store.Tx) (err error) {
		done, err = tx.RefreshTokens().Rotate(hashOf(token), store.NextToken{
			TokenHash: hashOf(successor), ExpiresAt: time.Now().Add(time.Hour), UserAgent: "test", IP: "192.0.2.1",
		})
		return err
	})
	return done
}

func (w *world) wantOutcome(got store.Rotation, want store.RotationOutcome) {
	w.t.Helper()
	if got.Outcome != want {
		w.t.Errorf("outcome %q, want %q", got.Outcome, want)
	}
}

func TestFiftyParallelRefreshesOfOneTokenGiveOneSuccessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20)
	first := w.login("first")

	const attempts = 50
	outcomes := make([]store.Rotation, attempts)
	group, ctx := errgroup.WithContext(t.Context())
	for i := range attempts {
		group.Go(func() error {
			return w.InTenant(ctx, w.acme, func(tx *store.Tx) (err error) {
				outcomes[i], err = tx.RefreshTokens().Rotate(hashOf("first"), store.NextToken{
					TokenHash: hashOf("second"), ExpiresAt: time.Now().Add(time.Hour),
				})
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	rotated := 0
	for _, o := range outcomes {
		switch o.Outcome {
		case store.TokenRotated:
			rotated++
		case store.TokenReplayed:
		default:
			t.Errorf("an honest refresh ended as %q", o.Outcome)
		}
		if o.Successor.ID != outcomes[0].Successor.ID || !bytes.Equal(o.Successor.TokenHash, hashOf("second")) {
			t.Errorf("successor %s, and %s elsewhere", o.Successor.ID, outcomes[0].Successor.ID)
		}
		if o.Successor.FamilyID != first.FamilyID || o.Successor.UserID != memberAcme {
			t.Errorf("successor is of family %s and user %s", o.Successor.FamilyID, o.Successor.UserID)
		}
	}
	if rotated != 1 {
		t.Errorf("rotated %d times, want once", rotated)
	}
	w.wantOutcome(w.rotate("second", "third"), store.TokenRotated)
}

func TestReuseAfterTheGraceRevokesTheFamilyAndNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.login("stolen")
	w.login("other device")
	w.wantOutcome(w.rotate("stolen", "successor"), store.TokenRotated)
	w.asOwner("UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds' WHERE used_at IS NOT NULL")

	w.wantOutcome(w.rotate("stolen", "thief's"), store.TokenReused)
	w.wantOutcome(w.rotate("successor", "owner's"), store.TokenRevoked)
	w.wantOutcome(w.rotate("stolen", "thief's"), store.TokenRevoked)
	w.wantOutcome(w.rotate("other device", "still good"), store.TokenRotated)
}

func TestSuccessorMadeWhileItsFamilyIsRevokedIsDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	first := w.login("first")
	w.wantOutcome(w.rotate("first", "second"), store.TokenRotated)
	// As if the revocation had not seen the second token yet: only the first carries the mark.
	w.asOwner("UPDATE refresh_tokens SET revoked_at = now() WHERE id = $1", first.ID)
	w.wantOutcome(w.rotate("second", "third"), store.TokenRevoked)
}

func TestRefreshIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for _, tc := range []struct {
		name    string
		user    uuid.UUID
		prepare func(tx *store.Tx, t store.RefreshToken) error
		want    store.RotationOutcome
	}{
		{
			name: "after logout", user: memberAcme,
			prepare: func(tx *store.Tx, token store.RefreshToken) error {
				_, err := tx.RefreshTokens().RevokeFamily(token.FamilyID, "logout")
				return err
			},
			want: store.TokenRevoked,
		},
		{
			// The only one of this user's: all their tokens go.
			name: "after a change of password", user: adminAcme,
			prepare: func(tx *store.Tx, token store.RefreshToken) error {
				_, err := tx.RefreshTokens().RevokeAllOfUser(token.UserID, "password changed")
				return err
			},
			want: store.TokenRevoked,
		},
		{
			name: "when the token's time is over", user: memberAcme,
			prepare: func(tx *store.Tx, token store.RefreshToken) error {
				return tx.DB().Model(&token).Update("expires_at", time.Now().Add(-time.Second)).Error
			},
			want: store.TokenExpired,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := w.with(t)
			token := w.loginAs(tc.user, tc.name)
			w.in(w.acme, func(tx *store.Tx) error { return tc.prepare(tx, token) })
			w.wantOutcome(w.rotate(tc.name, tc.name+" again"), tc.want)
		})
	}
}

func TestRefreshOfATokenThatNobodyIssuedIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.wantOutcome(w.rotate("made up", "made up too"), store.TokenUnknown)
	// Another tenant's token is none.
	w.login("acme's")
	w.in(w.startup, func(tx *store.Tx) error {
		got, err := tx.RefreshTokens().Rotate(hashOf("acme's"), store.NextToken{TokenHash: hashOf("x"), ExpiresAt: time.Now()})
		w.wantOutcome(got, store.TokenUnknown)
		return err
	})
}

func TestRefreshTokenIsFoundBeforeItsTenantIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.login("acme's")
	user, id, err := w.FindRefreshToken(t.Context(), hashOf("acme's"))
	if err != nil || user != memberAcme || id != w.acme {
		t.Errorf("found user %s of tenant %s: %v", user, id, err)
	}
	if _, _, err := w.FindRefreshToken(t.Context(), hashOf("made up")); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v, want not found", err)
	}
}
