package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// DocumentChange is what becomes different about a document. Fields that are left out or null stay as they are, only a null project_id
// empties it. Its text does not change: upload another document for that.
type DocumentChange struct {
	Title        *string          `json:"title,omitempty" minLength:"1" maxLength:"500" example:"Travel policy" doc:"What it is called"`
	Description  *string          `json:"description,omitempty" maxLength:"5000" doc:"What it is about"`
	DocumentType *string          `json:"document_type,omitempty" maxLength:"100" example:"policy" doc:"A kind of your own, to filter by"`
	ProjectID    Maybe[uuid.UUID] `json:"project_id,omitzero" required:"false" doc:"The project it belongs to; null makes it the whole organization's"`
	IsPublic     *bool            `json:"is_public,omitempty" doc:"Visible to the whole organization, not only to the project"`
	Tags         *[]string        `json:"tags,omitempty" maxItems:"50" example:"[\"travel\"]" doc:"Replaces all tags"`
	DocMetadata  *map[string]any  `json:"doc_metadata,omitempty" doc:"Replaces the whole"`
}

func (c *DocumentChange) apply(d *store.Document) {
	set(&d.Title, c.Title)
	set(&d.Description, c.Description)
	set(&d.DocumentType, c.DocumentType)
	c.ProjectID.apply(&d.ProjectID)
	set(&d.IsPublic, c.IsPublic)
	set((*[]string)(&d.Tags), c.Tags)
	set((*map[string]any)(&d.DocMetadata), c.DocMetadata)
}

type changeDocumentInput struct {
	DocumentInput
	Conditional

	Body DocumentChange
}

type touchDocumentInput struct {
	DocumentInput
	Conditional
	Submitting
}

// Tags are words of one's own, to filter by.
type Tags struct {
	Tags []string `json:"tags" minItems:"1" maxItems:"50" example:"[\"travel\"]" doc:"The tags; those that are there already stay"`
}

type addTagsInput struct {
	DocumentInput
	Conditional

	Body Tags
}

type removeTagsInput struct {
	DocumentInput
	Conditional

	Tags []string `query:"tag,explode" required:"true" minItems:"1" maxItems:"50" example:"[\"travel\"]" doc:"A tag to remove; can be repeated"`
}

// maxTags and maxTag bound the tags of a document, and a tag's length in bytes.
const (
	maxTags = 50
	maxTag  = 100
)

func (s *Server) documentChangeOperations() {
	changes(s, access.DocumentsUpdate, document("update-document", "", "/{id}", "Change a document"), s.changeDocument)
	secured(s, access.DocumentsUpdate,
		document("add-document-tags", http.MethodPost, "/{id}/tags", "Add tags to a document",
			http.StatusNotFound, http.StatusPreconditionFailed),
		func(ctx context.Context, p *rbac.Principal, in *addTagsInput) (*one[Document], error) {
			return s.editDocument(ctx, p, in.ID, in.Conditional, func(d *store.Document) {
				for _, tag := range in.Body.Tags {
					if !slices.Contains(d.Tags, tag) {
						d.Tags = append(d.Tags, tag)
					}
				}
			})
		})
	secured(s, access.DocumentsUpdate,
		document("remove-document-tags", http.MethodDelete, "/{id}/tags", "Remove tags from a document",
			http.StatusNotFound, http.StatusPreconditionFailed),
		func(ctx context.Context, p *rbac.Principal, in *removeTagsInput) (*one[Document], error) {
			return s.editDocument(ctx, p, in.ID, in.Conditional, func(d *store.Document) {
				d.Tags = slices.DeleteFunc(slices.Clone(d.Tags), func(tag string) bool { return slices.Contains(in.Tags, tag) })
			})
		})
	remove := document("delete-document", http.MethodDelete, "/{id}", "Delete a document",
		http.StatusNotFound, http.StatusPreconditionFailed)
	remove.accepts = true
	remove.about = "From the answer on nobody finds or reads it. The job removes its file, passages and vectors, and ends when a count " +
		"has shown that none is left."
	secured(s, access.DocumentsDelete, remove, s.deleteDocument)
	index := document("index-document", http.MethodPost, "/{id}/index", "Index a document again",
		http.StatusNotFound, http.StatusPreconditionFailed)
	index.accepts = true
	index.about = "Reads the file anew, as after an upload. Search finds the passages of the last time until the new ones are ready."
	secured(s, access.DocumentsUpdate, index, s.indexDocument)
}

func (s *Server) changeDocument(ctx context.Context, p *rbac.Principal, in *changeDocumentInput) (*one[Document], error) {
	if to := in.Body.ProjectID.Value; to != nil {
		err := s.Store.View(ctx, p.Tenant, func(tx *store.Tx) error { return usesProject(tx, p, to) })
		if err != nil {
			return nil, err
		}
	}
	return s.editDocument(ctx, p, in.ID, in.Conditional, in.Body.apply)
}

// editDocument changes a document that the caller may change, and has its vectors follow where they must.
func (s *Server) editDocument(
	ctx context.Context, p *rbac.Principal, id uuid.UUID, c Conditional, change func(*store.Document),
) (*one[Document], error) {
	row, err := changed(ctx, s, p, c, func(tx *store.Tx, match store.Match) (*store.Document, error) {
		if err := changeable(tx, p, id); err != nil {
			return nil, err
		}
		var before store.Document
		var refused error
		row, err := tx.Documents().Update(id, match, func(d *store.Document) {
			// Only what was read under the lock is what the vector store was last told.
			before = *d
			change(d)
			refused = checkTags(d.Tags)
		})
		if refused != nil {
			err = refused
		}
		if err != nil || !isSynced(&before, row) {
			return row, err
		}
		_, err = tx.Jobs().Submit(row.Sync(&p.UserID))
		return row, err
	})
	if err != nil {
		return nil, err
	}
	return show(showDocument(row)), nil
}

// isSynced reports whether a change is one that the vector store must learn of.
func isSynced(before, after *store.Document) bool {
	same := before.IsPublic == after.IsPublic && before.DocumentType == after.DocumentType && slices.Equal(before.Tags, after.Tags) &&
		(before.ProjectID == nil) == (after.ProjectID == nil) && (before.ProjectID == nil || *before.ProjectID == *after.ProjectID)
	return !same
}

// changeable refuses a document that the caller does not see or may not change.
func changeable(tx *store.Tx, p *rbac.Principal, id uuid.UUID) error {
	d, err := tx.Documents().GetVisibleBrief(id, visible(p))
	if err != nil {
		return err
	}
	if !p.ChangesDocument(d.ProjectID) {
		return fault.New(fault.Forbidden, "project.not_member",
			"You are not a member of this document's project. Ask to be added to it.")
	}
	return nil
}

func checkTags(tags []string) error {
	seen := make(map[string]bool, len(tags))
	for _, tag := range tags {
		if tag == "" || len(tag) > maxTag || seen[tag] {
			return invalid("body.tags", "expected different tags of 1 to 100 bytes")
		}
		seen[tag] = true
	}
	if len(tags) > maxTags {
		return invalid("body.tags", "expected at most 50 tags")
	}
	return nil
}

// onDocument submits a job about a document. Prepare changes the document and returns the jobs that its change has stopped; their
// workers are told once it is committed.
func (s *Server) onDocument(
	ctx context.Context, p *rbac.Principal, operation string, in *touchDocumentInput,
	prepare func(*store.Tx, store.Match) (store.NewJob, []uuid.UUID, error),
) (*acceptedOutput, error) {
	match, err := s.matching(in.Conditional)
	if err != nil {
		return nil, err
	}
	once, err := in.once(operation, in.ID)
	if err != nil {
		return nil, err
	}
	var stopped []uuid.UUID
	sub, err := s.Jobs.SubmitWith(ctx, p, once, func(tx *store.Tx) (job store.NewJob, err error) {
		if err := changeable(tx, p, in.ID); err != nil {
			return job, err
		}
		job, stopped, err = prepare(tx, match)
		return job, err
	})
	if err != nil {
		return nil, err
	}
	s.Jobs.Stopped(stopped)
	return s.accept(ctx, p, sub, in.Prefer)
}

func (s *Server) deleteDocument(ctx context.Context, p *rbac.Principal, in *touchDocumentInput) (*acceptedOutput, error) {
	return s.onDocument(ctx, p, "DELETE /documents/"+in.ID.String(), in,
		func(tx *store.Tx, match store.Match) (store.NewJob, []uuid.UUID, error) {
			d, err := tx.Documents().GetBrief(in.ID)
			if err != nil {
				return store.NewJob{}, nil, err
			}
			stopped, err := tx.Documents().Retire(in.ID, match)
			return store.NewJob{
				Kind: events.KindDocumentDelete, Class: events.ClassBulk, ProjectID: d.ProjectID, DocumentID: &in.ID,
				Input: events.DocumentDeleteInput{DocumentID: in.ID.String()},
			}, stopped, err
		})
}

func (s *Server) indexDocument(ctx context.Context, p *rbac.Principal, in *touchDocumentInput) (*acceptedOutput, error) {
	return s.onDocument(ctx, p, "POST /documents/"+in.ID.String()+"/index", in,
		func(tx *store.Tx, match store.Match) (store.NewJob, []uuid.UUID, error) {
			d, stopped, err := tx.Documents().Reindex(in.ID, match)
			if err != nil {
				return store.NewJob{}, nil, err
			}
			return ingest(d), stopped, nil
		})
}

// ingest is the job that reads a document's file, cuts it into passages and indexes them.
func ingest(d *store.Document) store.NewJob {
	return store.NewJob{
		Kind: events.KindDocumentIngest, Class: events.ClassBulk, ProjectID: d.ProjectID, DocumentID: &d.ID,
		Input: events.DocumentIngestInput{
			DocumentID: d.ID.String(), BlobKey: d.FilePath, FileName: d.FileName, MediaType: d.MIMEType,
		},
	}
}
