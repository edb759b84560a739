package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// How often files without a document are looked for, and how old they must be: far older than any upload that is under way.
const (
	sweepEvery = time.Hour
	orphanAge  = 24 * time.Hour
)

// Janitor removes files that no document has. They stay behind when a gateway dies between storing an upload and committing its
// document. Several janitors do no harm to each other.
type Janitor struct {
	blobs blob.Store
	store *store.Store
	log   *slog.Logger
}

// NewJanitor builds a janitor.
func NewJanitor(blobs blob.Store, s *store.Store, log *slog.Logger) *Janitor {
	return &Janitor{blobs, s, log}
}

// Run sweeps every hour until ctx ends, and returns nil then. When it begins is left to chance, so that the workers take turns.
func (j *Janitor) Run(ctx context.Context) error {
	pause := time.NewTimer(rand.N(sweepEvery))
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		if err := j.Sweep(ctx, time.Now().Add(-orphanAge)); err != nil && ctx.Err() == nil {
			j.log.WarnContext(ctx, "files without a document not removed", "error", err)
		}
		pause.Reset(sweepEvery)
	}
}

// sweepBatch is how many files of a tenant are looked up at once.
const sweepBatch = 500

// Sweep removes the files of documents that do not exist, if they were stored before that moment. A file whose key no upload would
// have made is left alone.
func (j *Janitor) Sweep(ctx context.Context, before time.Time) error {
	waiting := map[tenant.ID][]uuid.UUID{}
	err := j.blobs.Walk(ctx, func(b blob.Info) error {
		owner, document, ok := readKey(strings.TrimSuffix(b.Key, blob.PartSuffix))
		switch {
		case !ok || !b.Stored.Before(before):
			return nil
		case strings.HasSuffix(b.Key, blob.PartSuffix): // of an upload that broke off
			return j.remove(ctx, b.Key)
		}
		waiting[owner] = append(waiting[owner], document)
		if len(waiting[owner]) < sweepBatch {
			return nil
		}
		batch := waiting[owner]
		delete(waiting, owner)
		return j.sweep(ctx, owner, batch)
	})
	for owner, batch := range waiting {
		if err == nil {
			err = j.sweep(ctx, owner, batch)
		}
	}
	return err
}

func (j *Janitor) sweep(ctx context.Context, owner tenant.ID, documents []uuid.UUID) error {
	var having []uuid.UUID
	err := j.store.View(ctx, owner, func(tx *store.Tx) (err error) {
		having, err = tx.Documents().WithFiles(documents)
		return err
	})
	if err != nil {
		return err
	}
	for _, document := range documents {
		if slices.Contains(having, document) {
			continue
		}
		if err := j.remove(ctx, key(owner, document)); err != nil {
			return err
		}
	}
	return nil
}

func (j *Janitor) remove(ctx context.Context, key string) error {
	if err := j.blobs.Delete(ctx, key); err != nil {
		return fmt.Errorf("ingest: remove a file without a document: %w", err)
	}
	j.log.InfoContext(ctx, "file without a document removed", "key", key)
	return nil
}

// key is where an upload stores the file of a document, and readKey reads it.
func key(owner tenant.ID, document uuid.UUID) string {
	return owner.String() + "/documents/" + document.String()
}

func readKey(text string) (owner tenant.ID, document uuid.UUID, ok bool) {
	first, last, _ := strings.Cut(text, "/documents/")
	owner, err := tenant.Parse(first)
	if err != nil {
		return owner, document, false
	}
	document, err = uuid.Parse(last)
	return owner, document, err == nil && text == key(owner, document)
}
