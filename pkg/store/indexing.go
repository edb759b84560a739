package store

import (
	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
)

// A document is indexed by one document.ingest job at a time, and as often as somebody asks for it. Each time is an indexing with
// an id of its own, which its passages carry, and which is made once: it is a draft first, then the one that is searched, then
// over, and never again what it was before. So the passages of the last indexing are searched until those of the next have all
// been embedded, and what is over can be removed at any later time.

// SetProcessing marks an active document as being worked on and forgets an earlier failure.
func (r Documents) SetProcessing(id uuid.UUID) error {
	return r.updateActive(id, "mark document as processing", map[string]any{
		"processing_status": ProcessingRunning, "processing_error": "",
	})
}

// Parsed is what parsing found in a document.
type Parsed struct {
	// IndexingID is the new indexing, which the passages carry.
	IndexingID uuid.UUID
	Content    string
	Summary    string
	Pages      int
}

// SetParsed makes what parsing found the draft of an active document. Searches do not see it before SetCompleted.
func (r Documents) SetParsed(id uuid.UUID, p Parsed) error {
	return r.updateActive(id, "store parsed document", map[string]any{
		"draft_id": p.IndexingID, "draft": p.Content, "summary": p.Summary, "page_count": p.Pages,
	})
}

// SetCompleted makes the draft what is searched, and what was searched before a thing of the past.
func (r Documents) SetCompleted(id uuid.UUID) error {
	return r.run(id, "mark document as completed", `UPDATE documents SET
			processing_status = 'completed', processing_error = '', is_indexed = true, updated_at = $3,
			indexing_id = draft_id, draft_id = $4, content = draft, draft = '',
			chunk_count = (SELECT count(*) FROM document_chunks c
				WHERE c.organization_id = $1 AND c.document_id = $2 AND c.indexing_id = documents.draft_id)
		WHERE organization_id = $1 AND id = $2`, r.tx.db.NowFunc(), uuid.Nil)
}

// SetFailed marks a document as failed, with a reason that people understand, and drops the draft. What was searched before still
// is.
func (r Documents) SetFailed(id uuid.UUID, reason string) error {
	return r.update(id, "mark document as failed", map[string]any{
		"processing_status": ProcessingFailed, "processing_error": reason, "draft_id": uuid.Nil, "draft": "",
	})
}

// SetVectors records the points of an indexing, and the model that made them, if it is the one that is searched. Whoever stored a
// part of them calls it after its job has ended: for all but the last part it does nothing.
func (r Documents) SetVectors(id, indexing uuid.UUID, model string) error {
	_, err := r.tx.exec(`UPDATE documents SET embedding_model = $4, updated_at = $5,
			vector_ids = ARRAY(SELECT c.point_id::text FROM document_chunks c
				WHERE c.organization_id = $1 AND c.document_id = $2 AND c.indexing_id = $3 AND c.point_id IS NOT NULL
				ORDER BY c.chunk_index)
		WHERE organization_id = $1 AND id = $2 AND indexing_id = $3 AND is_indexed`,
		r.tx.tenant.UUID(), id, indexing, model, r.tx.db.NowFunc())
	return explain(err, "record vectors of a document")
}

// Wants reports whether an indexing is the one that is searched or the one that is under way. What belongs to any other is to be
// removed.
func (d *Document) Wants(indexing uuid.UUID) bool {
	return d.IsActive && (indexing == d.DraftID || indexing == d.IndexingID)
}

// Reindex prepares an active document for another document.ingest job, which the caller submits in the same transaction: it cancels
// the one that is under way, if any, and marks the document as pending. What searches find stays until the new passages are
// ready. It returns the cancelled jobs, whose workers are to be told after the commit. The revision must match.
func (r Documents) Reindex(id uuid.UUID, match Match) (d *Document, stopped []uuid.UUID, err error) {
	ingest, err := r.tx.Jobs().lockIngest(id)
	if err != nil {
		return nil, nil, err
	}
	if d, err = r.editActive(id, "index", match, func(*Document) {}); err != nil {
		return nil, nil, err
	}
	if stopped, err = r.tx.Jobs().stop(ingest); err != nil {
		return nil, nil, err
	}
	r.tx.Audit("document", "index", id, nil, nil)
	d.ProcessingStatus, d.ProcessingError = ProcessingPending, ""
	return d, stopped, r.update(id, "mark document as pending", map[string]any{
		"processing_status": ProcessingPending, "processing_error": "",
	})
}

// Revive prepares an active document whose document.ingest job failed or was cancelled for another one, which the caller submits in the
// same transaction. A document that is being indexed, or has been since, is fault.Conflict "document.superseded".
func (r Documents) Revive(id uuid.UUID) (*Document, error) {
	return edit(r.tx, "document", "index", id, nil, func(d *Document) error {
		switch {
		case !d.IsActive:
			return fault.New(fault.Conflict, "document.deleted", "The document of this job has been deleted.")
		case d.ProcessingStatus != ProcessingFailed:
			return fault.New(fault.Conflict, "document.superseded", "The document of this job is being indexed, or has been since.")
		}
		d.ProcessingStatus, d.ProcessingError = ProcessingPending, ""
		return nil
	}, bulky()...)
}

// Retire marks an active document as deleted and cancels its document.ingest job: from the commit on nobody finds or reads it. The
// caller submits a document.delete job in the same transaction, which removes what is left. It returns the cancelled jobs, whose
// workers are to be told after the commit. The revision must match.
func (r Documents) Retire(id uuid.UUID, match Match) (stopped []uuid.UUID, err error) {
	// Jobs are locked before documents, here as at their end.
	ingest, err := r.tx.Jobs().lockIngest(id)
	if err != nil {
		return nil, err
	}
	if _, err := r.editActive(id, "delete", match, func(d *Document) { d.IsActive = false }); err != nil {
		return nil, err
	}
	return r.tx.Jobs().stop(ingest)
}

// Erase empties a document that Retire has marked: what it says is gone, its name stays for the audit log. Its passages are not
// touched. Erasing twice is no error; an active document is fault.NotFound.
func (r Documents) Erase(id uuid.UUID) error {
	return touched(within[Document](r.tx).Where("id = ? AND NOT is_active", id).Updates(map[string]any{
		"content": "", "draft": "", "summary": "", "vector_ids": StringArray{}, "embedding_model": "", "content_hash": "",
		"chunk_count": 0, "is_indexed": false, "indexing_id": uuid.Nil, "draft_id": uuid.Nil, "file_path": "",
	}), "erase document", "document")
}

func (r Documents) updateActive(id uuid.UUID, doing string, change map[string]any) error {
	return touched(within[Document](r.tx).Where("id = ? AND is_active", id).Updates(change), doing, "document")
}

func (r Documents) editActive(id uuid.UUID, verb string, match Match, change func(*Document)) (*Document, error) {
	return edit(r.tx, "document", verb, id, match, func(d *Document) error {
		if !d.IsActive {
			return notFound("document")
		}
		change(d)
		return nil
	}, bulky()...)
}

// run executes a statement on one document, whose first arguments are the tenant and the document.
func (r Documents) run(id uuid.UUID, doing, statement string, args ...any) error {
	n, err := r.tx.exec(statement, append([]any{r.tx.tenant.UUID(), id}, args...)...)
	if err != nil {
		return explain(err, doing)
	}
	if n == 0 {
		return notFound("document")
	}
	return nil
}

// Sync is the job that makes the vector store say what the record says about the document, on behalf of a user; nil is nobody.
// Submit it in the transaction that changes who may see the document, its type or its tags.
func (d *Document) Sync(by *uuid.UUID) NewJob {
	return NewJob{
		Kind: events.KindDocumentSync, Class: events.ClassInteractive, CreatedBy: by, ProjectID: d.ProjectID, DocumentID: &d.ID,
		Input: events.DocumentSyncInput{DocumentID: d.ID.String()},
	}
}
