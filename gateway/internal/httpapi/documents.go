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
	ID               uuid.UUID              `json:"id" format:"uuid" doc:"The document's id"`
	Title            string                 `json:"title" example:"Travel policy" doc:"What it is called"`
	Description      string                 `json:"description" example:"Who may travel how" doc:"What it is about"`
	OrganizationID   uuid.UUID              `json:"organization_id" format:"uuid" doc:"Whose it is"`
	ProjectID        *uuid.UUID             `json:"project_id" format:"uuid" doc:"Null: the whole organization's"`
	CreatedBy        *uuid.UUID             `json:"created_by" format:"uuid" doc:"Who uploaded it"`
	DocumentType     string                 `json:"document_type" example:"policy" doc:"A kind of your own, to filter by"`
	FileName         string                 `json:"file_name" example:"travel-policy.pdf" doc:"What the file was called"`
	FileSize         int64                  `json:"file_size" example:"48213" doc:"Bytes"`
	MIMEType         string                 `json:"mime_type" example:"application/pdf" doc:"The media type of the file"`
	Content          string                 `json:"content,omitempty" doc:"The extracted text; lists leave it out"`
	ContentHash      string                 `json:"content_hash" doc:"SHA-256 of the file"`
	Summary          string                 `json:"summary" doc:"How it begins"`
	VectorIDs        []string               `json:"vector_ids,omitempty" nullable:"false" doc:"The points in the vector store; lists leave them out"`
	EmbeddingModel   string                 `json:"embedding_model" example:"gemini-embedding-001" doc:"The model that made its vectors; empty before"`
	ChunkCount       int                    `json:"chunk_count" example:"42" doc:"How many passages it was cut into"`
	PageCount        int                    `json:"page_count" doc:"0 where the format has no pages"`
	IsIndexed        bool                   `json:"is_indexed" doc:"Whether search finds it"`
	IsActive         bool                   `json:"is_active" doc:"False once it is deleted"`
	IsPublic         bool                   `json:"is_public" doc:"Visible to the whole organization, not only to the project"`
	ProcessingStatus store.ProcessingStatus `json:"processing_status" enum:"pending,processing,completed,failed" doc:"How far it has come"`
	ProcessingError  string                 `json:"processing_error" doc:"Why processing failed, for people"`
	Tags             []string               `json:"tags" nullable:"false" example:"[\"travel\"]" doc:"Words of your own, to filter by"`
	DocMetadata      map[string]any         `json:"doc_metadata" doc:"Whatever you keep with it"`
	CreatedAt        time.Time              `json:"created_at" doc:"When it was uploaded"`
	UpdatedAt        time.Time              `json:"updated_at" doc:"When it last changed"`
}

func (d Document) changedAt() time.Time { return d.UpdatedAt }

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

// DocumentInput names a document.
type DocumentInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The document's id"`
}

type getDocumentInput struct {
	DocumentInput
	Cached
}

// DocumentFilter narrows and sorts a list of documents.
type DocumentFilter struct {
	ProcessingStatus store.ProcessingStatus `query:"processing_status" enum:"pending,processing,completed,failed" doc:"Only documents that have come this far"`
	Tag              string                 `query:"tag" maxLength:"100" example:"travel" doc:"Only documents with this tag"`
	ProjectID        uuid.UUID              `query:"project_id" format:"uuid" doc:"Only documents of this project"`
	IsPublic         string                 `query:"is_public" enum:"true,false" doc:"Only documents that the whole organization sees, or only the others"`
	Search           string                 `query:"search" maxLength:"200" example:"policy" doc:"Only documents with this in title, description or file name"`
	Sort             string                 `query:"sort" enum:"created_at,-created_at,updated_at,-updated_at,title,-title" example:"title" doc:"The order; a dash puts the largest first. Without it newest first"`
}

type listDocumentsInput struct {
	Listing
	DocumentFilter

	DocumentType string `query:"document_type" maxLength:"100" example:"policy" doc:"Only documents of this type"`
}

type documentsByTypeInput struct {
	Listing
	DocumentFilter

	DocumentType string `path:"type" maxLength:"100" example:"policy" doc:"Only documents of this type"`
}

// document declares an operation on documents.
func document(id, method, path, summary string, errors ...int) operation {
	return operation{id: id, method: method, path: "/documents" + path, tag: tagDocuments, summary: summary, errors: errors}
}

func (s *Server) documentOperations() {
	list := document("list-documents", http.MethodGet, "", "List documents")
	list.about = "Newest first: public ones, those without a project and those of one's projects, or all, as the role allows."
	secured(s, access.DocumentsRead, list,
		func(ctx context.Context, p *rbac.Principal, in *listDocumentsInput) (*pageOutput[Document], error) {
			return s.listDocuments(ctx, p, in.Listing, in.DocumentType, in.DocumentFilter)
		})
	secured(s, access.DocumentsRead, document("list-documents-by-type", http.MethodGet, "/by-type/{type}", "List documents of a type"),
		func(ctx context.Context, p *rbac.Principal, in *documentsByTypeInput) (*pageOutput[Document], error) {
			return s.listDocuments(ctx, p, in.Listing, in.DocumentType, in.DocumentFilter)
		})
	secured(s, access.DocumentsRead,
		document("get-document", http.MethodGet, "/{id}", "Read a document", http.StatusNotFound), s.getDocument)
}

// visible is the caller's reach over documents as the store takes it.
func visible(p *rbac.Principal) store.Visibility {
	return store.Visibility{All: p.Documents().All, UserID: p.UserID}
}

func (s *Server) listDocuments(
	ctx context.Context, p *rbac.Principal, l Listing, kind string, f DocumentFilter,
) (*pageOutput[Document], error) {
	c := collection{name: "documents", listing: l, sort: f.Sort, byAge: true}
	return listed(ctx, s, p, c, showDocument, func(tx *store.Tx, page store.Page) (store.Listed[store.Document], error) {
		return tx.Documents().List(store.DocumentFilter{
			Type: kind, Status: f.ProcessingStatus, Tag: f.Tag, ProjectID: given(f.ProjectID), Public: givenBool(f.IsPublic),
			Search: f.Search, Visible: visible(p), Page: page,
		})
	})
}

func (s *Server) getDocument(ctx context.Context, p *rbac.Principal, in *getDocumentInput) (*one[Document], error) {
	return viewed(ctx, s, p, in.Cached, showDocument, func(tx *store.Tx) (*store.Document, error) {
		return tx.Documents().GetVisible(in.ID, visible(p))
	})
}
