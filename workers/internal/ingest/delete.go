package ingest

import (
	"context"
	"fmt"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
)

// Deleter runs document.delete jobs: it removes the file and the text of a document that was marked as deleted, and waits for the
// job that removes its passages and vectors, which only the embedding worker can.
type Deleter struct {
	blobs blob.Store
}

var _ runner.Handler = (*Deleter)(nil)

// NewDeleter builds the handler.
func NewDeleter(blobs blob.Store) *Deleter { return &Deleter{blobs} }

// Kind implements runner.Handler.
func (d *Deleter) Kind() events.Kind { return events.KindDocumentDelete }

// Handle implements runner.Handler. The record forgets the file after it is gone, so that another attempt knows what to remove.
func (d *Deleter) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	var in events.DocumentDeleteInput
	if err := run.Input(&in); err != nil {
		return runner.Outcome{}, err
	}
	id, err := runner.ParseID("document", in.DocumentID)
	if err != nil {
		return runner.Outcome{}, err
	}
	var doc *store.Document
	err = run.Read(ctx, func(tx *store.Tx) (err error) {
		doc, err = tx.Documents().GetBrief(id)
		return err
	})
	if err != nil {
		return runner.Outcome{}, err
	}
	if doc.IsActive {
		return runner.Outcome{}, fault.New(fault.Conflict, "document.active", "The document is in use. Delete it first.")
	}
	if doc.FilePath != "" {
		if err := d.blobs.Delete(ctx, doc.FilePath); err != nil {
			return runner.Outcome{}, fmt.Errorf("ingest: delete upload: %w", err)
		}
	}
	job := run.Job()
	vectors := doc.Sync(job.CreatedBy)
	vectors.Class, vectors.Traceparent, vectors.Weight = job.Class, job.Traceparent, 1
	return runner.Outcome{
		Result:   events.DocumentDeleteResult(in),
		Also:     func(tx *store.Tx) error { return tx.Documents().Erase(id) },
		Children: []store.NewJob{vectors},
	}, nil
}
