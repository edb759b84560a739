package ingest_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
	"github.com/tarento/copilot/workers/internal/ingest"
)

func TestTheJanitorRemovesOldFilesThatNoDocumentHas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blobs, err := blob.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() })
	records, err := store.Open(t.Context(), store.Config{URL: storetest.NewSeeded(t).AppURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	acme, err := tenant.Parse("01900000-0000-7000-8000-000000000a00")
	if err != nil {
		t.Fatal(err)
	}
	key := func(document uuid.UUID) string { return acme.String() + "/documents/" + document.String() }
	made := func(erased bool) string {
		t.Helper()
		d := &store.Document{ID: uuid.New(), Title: "T"}
		d.FilePath = key(d.ID)
		err := records.InTenant(t.Context(), acme, func(tx *store.Tx) error {
			if err := tx.Documents().Create(d); err != nil || !erased {
				return err
			}
			if _, err := tx.Documents().Retire(d.ID, nil); err != nil {
				return err
			}
			return tx.Documents().Erase(d.ID)
		})
		if err != nil {
			t.Fatal(err)
		}
		return d.FilePath
	}
	now := time.Now()
	old := now.Add(-time.Hour)
	kept := map[string]time.Time{
		made(false):            old,
		key(uuid.New()):        now, // its upload may be under way
		"notes/of/an/operator": old,
		uuid.NewString():       old,
		acme.String() + "/documents/" + strings.ToUpper(uuid.NewString()): old,
		key(uuid.New()) + blob.PartSuffix:                                 now,
	}
	swept := map[string]time.Time{
		key(uuid.New()): old,
		made(true):      old,
		uuid.NewString() + "/documents/" + uuid.NewString(): old, // of a tenant that is gone
		key(uuid.New()) + blob.PartSuffix:                   old,
	}
	var want []string
	for _, files := range []map[string]time.Time{kept, swept} {
		for name, stored := range files {
			if _, err := blobs.Put(t.Context(), name, strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(dir, filepath.FromSlash(name)), stored, stored); err != nil {
				t.Fatal(err)
			}
			if _, ok := kept[name]; ok {
				want = append(want, name)
			}
		}
	}
	janitor := ingest.NewJanitor(blobs, records, slog.New(slog.DiscardHandler))
	for range 2 {
		if err := janitor.Sweep(t.Context(), now.Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	err = blobs.Walk(t.Context(), func(b blob.Info) error {
		left = append(left, b.Key)
		return nil
	})
	slices.Sort(left)
	slices.Sort(want)
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("left are\n%v, want\n%v (%v)", left, want, err)
	}

	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := janitor.Run(ctx); err != nil {
		t.Errorf("a janitor that is stopped returns %v", err)
	}
}
