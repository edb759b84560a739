package embedding

import (
	"context"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/workers/internal/vector"
)

// Syncer runs document.sync jobs: it makes the vector store say what the record says about a document.
type Syncer struct {
	vectors *vector.Store
}

var _ runner.Handler = (*Syncer)(nil)

// NewSyncer builds the handler.
func NewSyncer(v *vector.Store) *Syncer { return &Syncer{v} }

// Kind implements runner.Handler.
func (s *Syncer) Kind() events.Kind { return events.KindDocumentSync }

// Handle implements runner.Handler. It looks at what there is, so it can be done at any time and as often as one likes. Vectors go
// before their passages, because the passages tell which vectors there may be.
func (s *Syncer) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	var in events.DocumentSyncInput
	if err := run.Input(&in); err != nil {
		return runner.Outcome{}, err
	}
	id, err := runner.ParseID("document", in.DocumentID)
	if err != nil {
		return runner.Outcome{}, err
	}
	doc, err := current(ctx, run, id)
	if err != nil {
		return runner.Outcome{}, err
	}
	var forget func(tx *store.Tx) error
	if doc.IsActive {
		forget, err = s.update(ctx, run, doc)
	} else {
		err = s.vectors.DeleteDocument(ctx, run.Tenant(), id)
		forget = func(tx *store.Tx) error { _, err := tx.Chunks().DeleteForDocument(id); return err }
	}
	if err != nil {
		return runner.Outcome{}, err
	}
	left, err := s.vectors.CountDocument(ctx, run.Tenant(), id)
	if err != nil {
		return runner.Outcome{}, err
	}
	return runner.Outcome{Result: events.DocumentSyncResult{DocumentID: in.DocumentID, Vectors: left}, Also: forget}, nil
}

// update removes the vectors of indexings that are over and labels the others. It returns what removes their
// passages.
func (s *Syncer) update(ctx context.Context, run *runner.Run, doc *store.Document) (forget func(*store.Tx) error, err error) {
	var over []uuid.UUID
	err = run.Read(ctx, func(tx *store.Tx) (err error) {
		over, err = tx.Chunks().Stale(doc.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(over) > 0 {
		if err := s.vectors.DeleteDocument(ctx, run.Tenant(), doc.ID, over...); err != nil {
			return nil, err
		}
		forget = func(tx *store.Tx) error { _, err := tx.Chunks().DeleteIndexings(doc.ID, over); return err }
	}
	if err := s.vectors.Label(ctx, run.Tenant(), doc.ID, labels(doc)); err != nil {
		return nil, err
	}
	have := labels(doc)
	if doc, err = current(ctx, run, doc.ID); err != nil {
		return nil, err
	}
	return forget, relabel(ctx, run, s.vectors, doc, have)
}

// relabel labels the points of a document, which have these labels, as the record says, until the record still says so afterwards:
// of two who do this at once, the one that ends last has seen what is true.
func relabel(ctx context.Context, run *runner.Run, vectors *vector.Store, doc *store.Document, have vector.Labels) error {
	for want := labels(doc); !want.Equal(have); want = labels(doc) {
		if err := vectors.Label(ctx, run.Tenant(), doc.ID, want); err != nil {
			return err
		}
		have = want
		var err error
		if doc, err = current(ctx, run, doc.ID); err != nil {
			return err
		}
	}
	return nil
}

// current reads the record of a document. One that is not there at all is as good as deleted.
func current(ctx context.Context, run *runner.Run, id uuid.UUID) (doc *store.Document, err error) {
	err = run.Read(ctx, func(tx *store.Tx) (err error) {
		doc, err = tx.Documents().GetBrief(id)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return &store.Document{ID: id}, nil
	}
	return doc, err
}

// labels are what the record says about a document, as the vector store keeps it.
func labels(doc *store.Document) vector.Labels {
	return vector.Labels{ProjectID: doc.ProjectID, Public: doc.IsPublic, DocumentType: doc.DocumentType, Tags: doc.Tags}
}
