package janitor_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/gateway/internal/janitor"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// world is a database of its own, with what the owner of it sees.
type world struct {
	t     *testing.T
	owner *pgx.Conn
	store *store.Store
	eng   *store.Engine
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := storetest.NewSeeded(t)
	w := &world{t: t, owner: db.Conn(t, db.OwnerURL)}
	var err error
	if w.store, err = store.Open(t.Context(), store.Config{URL: db.AppURL, MaxConns: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	if w.eng, err = store.OpenEngine(t.Context(), store.Config{URL: db.EngineURL, MaxConns: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.eng.Close() })
	return w
}

func (w *world) janitor(cfg janitor.Config) *janitor.Janitor {
	return janitor.New(cfg, w.store, w.eng, slog.New(slog.DiscardHandler))
}

func (w *world) sql(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.owner.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

// key writes an idempotency key of each organization that expired so long ago.
func (w *world) key(name string, expired time.Duration) {
	w.t.Helper()
	w.sql(`INSERT INTO idempotency_keys (organization_id, scope, key, body_hash, expires_at)
		SELECT id, 'POST /things', $1, '', now() - $2::interval FROM organizations`, name, expired)
}

// token writes a refresh token of every user, of a session that is named by its first token.
func (w *world) token(name, session string, expired time.Duration, spent, revoked bool) {
	w.t.Helper()
	w.sql(`INSERT INTO refresh_tokens (id, organization_id, user_id, family_id, token_hash, expires_at, used_at, replaced_by, revoked_at, ip)
		SELECT md5($1 || id)::uuid, organization_id, id, md5($2 || id)::uuid, decode(md5($1 || id), 'hex'), now() - $3::interval,
			CASE WHEN $4 THEN now() END, CASE WHEN $4 THEN id END, CASE WHEN $5 THEN now() END, $1 FROM users`,
		name, session, expired, spent, revoked)
}

// left are the names of what is in the database, each once.
func (w *world) left() []string {
	w.t.Helper()
	rows, err := w.owner.Query(w.t.Context(), "SELECT key FROM idempotency_keys UNION SELECT ip FROM refresh_tokens ORDER BY 1")
	if err != nil {
		w.t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func TestWhatExpiredLongEnoughAgoIsDeletedInBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const day, hour = 24 * time.Hour, time.Hour
	w.key("an old key", 2*day)
	w.key("another old key", 3*day)
	w.key("a key of yesterday", day-hour)
	w.key("a key that is good", -hour)

	w.token("over: first", "over: first", 9*day, true, false)
	w.token("over: last", "over: first", 2*day, false, true)
	w.token("just over", "just over", day-hour, false, false)
	w.token("living: first", "living: first", 9*day, true, false)
	w.token("living: spent", "living: first", 5*day, true, false)
	w.token("living: newest", "living: first", -day, false, false)
	w.token("ended: first", "ended: first", 9*day, true, false)
	w.token("ended: revoked", "ended: first", 5*day, true, true)
	w.token("ended: made in the same instant", "ended: first", -day, false, false)

	if err := w.janitor(janitor.Config{After: day, Batch: 1}).Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a key of yesterday", "a key that is good",
		"ended: first", "ended: made in the same instant", "ended: revoked",
		"just over",
		"living: first", "living: newest",
	}
	slices.Sort(want)
	if got := w.left(); !slices.Equal(got, want) {
		t.Errorf("left are\n%q, want\n%q", got, want)
	}
}

func TestOneJanitorPrunesAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	ended := make(chan error, 1)
	led, err := w.eng.Lead(ctx, store.Pruning, func(ctx context.Context) error {
		w.key("an old key", time.Hour)
		w.token("an old token", "an old token", time.Hour, false, false)
		go func() { ended <- w.janitor(janitor.Config{Every: 5 * time.Millisecond}).Run(ctx) }()
		// Many a turn later everything is there, because somebody else has the duty.
		for range 20 {
			wait(ctx, 5*time.Millisecond)
			if got := w.left(); len(got) != 2 {
				t.Errorf("left is %q while another has the duty", got)
			}
		}
		return nil
	})
	if !led || err != nil {
		t.Fatalf("did not lead: %v, %v", led, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the janitor ended with %v", err)
	}

	go func() { ended <- w.janitor(janitor.Config{Every: 5 * time.Millisecond}).Run(ctx) }()
	for len(w.left()) > 0 && ctx.Err() == nil {
		wait(ctx, 5*time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("still there: %q", w.left())
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the janitor ended with %v", err)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
