package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// Document is a file that agents can search.
type Document struct {
	ID               uuid.UUID              `json:"id" format:"uuid"`
	Title            string                 `json:"title"`
	Description      string                 `json:"description"`
	OrganizationID   uuid.UUID              `json:"organization_id" format:"uuid"`
	ProjectID        *uuid.UUID             `json:"project_id" format:"uuid" doc:"Null: the whole organization's"`
	CreatedBy        *uuid.UUID             `json:"created_by" format:"uuid"`
	DocumentType     string                 `json:"document_type"`
	FileName         string                 `json:"file_name"`
	FileSize         int64                  `json:"file_size" doc:"Bytes"`
	MIMEType         string                 `json:"mime_type"`
	Content          string                 `json:"content,omitempty" doc:"The extracted text; lists leave it out"`
	ContentHash      string                 `json:"content_hash" doc:"SHA-256 of the file"`
	Summary          string                 `json:"summary"`
	VectorIDs        []string               `json:"vector_ids,omitempty" nullable:"false" doc:"The points in the vector store; lists leave them out"`
	EmbeddingModel   string                 `json:"embedding_model"`
	ChunkCount       int                    `json:"chunk_count"`
	PageCount        int                    `json:"page_count" doc:"0 where the format has no pages"`
	IsIndexed        bool                   `json:"is_indexed" doc:"Whether search finds it"`
	IsActive         bool                   `json:"is_active"`
	IsPublic         bool                   `json:"is_public" doc:"Visible to the whole organization, not only to the project"`
	ProcessingStatus store.ProcessingStatus `json:"processing_status" enum:"pending,processing,completed,failed"`
	ProcessingError  string                 `json:"processing_error" doc:"Why processing failed, for people"`
	Tags             []string               `json:"tags" nullable:"false"`
	DocMetadata      map[string]any         `json:"doc_metadata"`
	CreatedAt        time.Time              `json:"created_at"`
	UpdatedAt        time.Time              `json:"updated_at"`
}

func showDocument(d *store.Document) Document {
	return Document{
		ID: d.ID, Title: d.Title, Description: d.Description, OrganizationID: d.OrganizationID, ProjectID: d.ProjectID,
		CreatedBy: d.CreatedBy, DocumentType: d.DocumentType, FileName: d.FileName, FileSize: d.FileSize, MIMEType: d.MIMEType,
		Content: d.Content, ContentHash: d.ContentHash, Summary: d.Summary, VectorIDs: d.VectorIDs, EmbeddingModel: d.EmbeddingModel,
		ChunkCount: d.ChunkCount, PageCount: d.PageCount, IsIndexed: d.IsIndexed, IsActive: d.IsActive, IsPublic: d.IsPublic,
		ProcessingStatus: d.ProcessingStatus, ProcessingError: d.ProcessingError, Tags: append([]string{}, d.Tags...),
		DocMetadata: object(d.DocMetadata), CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
	}
}

type documentInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The document's id"`
}

type documentOutput struct{ Body Document }

type listDocumentsInput struct {
	Listing

	DocumentType     string                 `query:"document_type" maxLength:"100" doc:"Only documents of this type"`
	ProcessingStatus store.ProcessingStatus `query:"processing_status" enum:"pending,processing,completed,failed" doc:"Only documents that have come this far"`
	Tag              string                 `query:"tag" maxLength:"100" doc:"Only documents with this tag"`
	ProjectID        uuid.UUID              `query:"project_id" format:"uuid" doc:"Only documents of this project"`
	Search           string                 `query:"search" maxLength:"200" doc:"Only documents with this in title, description or file name"`
}

func (s *Server) documentOperations() {
	secured(s, access.DocumentsRead, operation{
		id: "list-documents", method: http.MethodGet, path: "/documents", tag: tagDocuments, summary: "List documents",
		about: "Newest first: public ones, those without a project and those of one's projects, or all, as the role allows.",
	}, s.listDocuments)
	secured(s, access.DocumentsRead, operation{
		id: "get-document", method: http.MethodGet, path: "/documents/{id}", tag: tagDocuments, summary: "Read a document",
		errors: []int{http.StatusNotFound},
	}, s.getDocument)
}

// visible is the caller's reach over documents as the store takes it.
func visible(p *rbac.Principal) store.Visibility {
	return store.Visibility{All: p.Documents().All, UserID: p.UserID}
}

func (s *Server) listDocuments(ctx context.Context, p *rbac.Principal, in *listDocumentsInput) (*pageOutput[Document], error) {
	w, err := s.window(p, "documents", in.Listing, "")
	if err != nil {
		return nil, err
	}
	filter := store.DocumentFilter{
		Type: in.DocumentType, Status: in.ProcessingStatus, Tag: in.Tag, ProjectID: given(in.ProjectID), Search: in.Search,
		Visible: visible(p), Page: w.Page,
	}
	var rows store.Listed[store.Document]
	err = s.Store.View(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		rows, err = tx.Documents().List(filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	return page(w, rows, showDocument), nil
}

func (s *Server) getDocument(ctx context.Context, p *rbac.Principal, in *documentInput) (*documentOutput, error) {
	var row *store.Document
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		row, err = tx.Documents().GetVisible(in.ID, visible(p))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &documentOutput{showDocument(row)}, nil
}
