package store

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// ProcessingStatus says how far a document has come.
type ProcessingStatus string

// The statuses, in the order a document passes through them; it ends in one of the last two.
const (
	ProcessingPending   ProcessingStatus = "pending"
	ProcessingRunning   ProcessingStatus = "processing"
	ProcessingCompleted ProcessingStatus = "completed"
	ProcessingFailed    ProcessingStatus = "failed"
)

// Document is a text that agents can search.
type Document struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	ProjectID      *uuid.UUID `gorm:"column:project_id"` // nil: the whole organization's
	CreatedBy      *uuid.UUID `gorm:"column:created_by"`
	Title          string     `gorm:"column:title"`
	Description    string     `gorm:"column:description"`
	DocumentType   string     `gorm:"column:document_type"`
	FileName       string     `gorm:"column:file_name"`
	FilePath       string     `gorm:"column:file_path" audit:"-"` // the key in the blob store
	FileSize       int64      `gorm:"column:file_size"`           // bytes
	MIMEType       string     `gorm:"column:mime_type"`
	// Content is the extracted text. Lists leave it empty.
	Content     string `gorm:"column:content" audit:"-"`
	ContentHash string `gorm:"column:content_hash"` // of the file's bytes
	Summary     string `gorm:"column:summary"`
	// VectorIDs name the points in the vector store. Lists leave them empty.
	VectorIDs      StringArray `gorm:"column:vector_ids" audit:"-"`
	EmbeddingModel string      `gorm:"column:embedding_model"`
	ChunkCount     int         `gorm:"column:chunk_count"`
	PageCount      int         `gorm:"column:page_count"` // 0 where the format has no pages
	IsIndexed      bool        `gorm:"column:is_indexed"`
	IndexingID     uuid.UUID   `gorm:"column:indexing_id"` // whose passages are searched; zero before the first
	DraftID        uuid.UUID   `gorm:"column:draft_id"`    // the indexing that is under way; zero when there is none
	// Draft is the text that becomes Content when the indexing under way has ended well. Lists leave it empty.
	Draft            string           `gorm:"column:draft" audit:"-"`
	IsActive         bool             `gorm:"column:is_active"`
	IsPublic         bool             `gorm:"column:is_public"` // visible to the whole organization, not only the project
	ProcessingStatus ProcessingStatus `gorm:"column:processing_status"`
	ProcessingError  string           `gorm:"column:processing_error"` // for people; empty unless failed
	Tags             StringArray      `gorm:"column:tags"`
	DocMetadata      Object           `gorm:"column:doc_metadata"`
	CreatedAt        time.Time        `gorm:"column:created_at"`
	UpdatedAt        time.Time        `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (*Document) TableName() string { return "documents" }

// bulky are the columns that can be megabytes each.
func bulky() []string { return []string{"content", "draft", "vector_ids"} }

// Visibility is what a user may see of the tenant's documents: all of them, or public ones, those without a project, and
// those of projects the user belongs to. The zero Visibility is a user without projects.
type Visibility struct {
	All    bool
	UserID uuid.UUID
}

// narrow adds the condition to a query on documents.
func (v Visibility) narrow(tx *Tx, q *gorm.DB) *gorm.DB {
	if v.All {
		return q
	}
	return q.Where("(is_public OR project_id IS NULL OR project_id IN (?))",
		within[ProjectMember](tx).Select("project_id").Where("user_id = ?", v.UserID))
}

// Documents is the repository of documents within a tenant.
type Documents struct{ tx *Tx }

// Documents returns the documents of the transaction's tenant.
func (tx *Tx) Documents() Documents { return Documents{tx} }

// Create writes an active document into the tenant, pending unless it says otherwise.
func (r Documents) Create(d *Document) error {
	if d.ProcessingStatus == "" {
		d.ProcessingStatus = ProcessingPending
	}
	d.IsActive = true
	return create(r.tx, "document", d, &d.ID, &d.OrganizationID)
}

// Get returns a document, deleted ones included, or fault.NotFound. It is for work on the document; what a user asks for goes
// through GetVisible.
func (r Documents) Get(id uuid.UUID) (*Document, error) {
	return take[Document](within[Document](r.tx).Omit(wordsColumn).Where("id = ?", id), "document")
}

// GetBrief is Get without what is as large as the document: Content, Draft and VectorIDs.
func (r Documents) GetBrief(id uuid.UUID) (*Document, error) {
	return take[Document](within[Document](r.tx).Omit(bulky()...).Where("id = ?", id), "document")
}

// GetVisible returns a document that the user may see. One that is deleted or hidden is fault.NotFound, as an unknown one is.
func (r Documents) GetVisible(id uuid.UUID, v Visibility) (*Document, error) {
	return take[Document](v.narrow(r.tx, within[Document](r.tx).Omit(wordsColumn).Where("id = ? AND is_active", id)), "document")
}

// GetVisibleBrief is GetVisible without what is as large as the document.
func (r Documents) GetVisibleBrief(id uuid.UUID, v Visibility) (*Document, error) {
	return take[Document](v.narrow(r.tx, within[Document](r.tx).Omit(bulky()...).Where("id = ? AND is_active", id)), "document")
}

// Update changes an active document. A change of who may see it, its type or its tags needs a job of Sync in the same transaction.
func (r Documents) Update(id uuid.UUID, match Match, change func(*Document)) (*Document, error) {
	return r.editActive(id, "update", match, change)
}

// DocumentFilter narrows a list of documents. Zero fields do not, except Visible, whose zero value shows the least.
type DocumentFilter struct {
	Type      string
	Status    ProcessingStatus
	Tag       string
	ProjectID *uuid.UUID
	Public    *bool
	// Search is for words in title, description and file name.
	Search  string
	Visible Visibility
	Page    Page
}

// DocumentSorts are the columns that documents can be sorted by.
func DocumentSorts() []string { return []string{"title", columnUpdatedAt} }

// List returns one page of the documents that are not deleted. What is bulky is left out.
func (r Documents) List(f DocumentFilter) (Listed[Document], error) {
	narrow := func(q *gorm.DB) *gorm.DB { return f.narrow(r.tx, q) }
	if f.Search == "" && f.Tag != "" {
		tagged := through[Document](r.tx).Where("tag_terms(organization_id, tags) @> tag_terms(?::uuid, ?::text[])",
			r.tx.tenant.String(), StringArray{f.Tag})
		return list[Document](narrow(tagged), f.Page, "document", DocumentSorts(), bulky()...)
	}
	return find[Document](r.tx, wanted{text: f.Search}, narrow, f.Page, "document", DocumentSorts(), bulky()...)
}

func (f DocumentFilter) narrow(tx *Tx, q *gorm.DB) *gorm.DB {
	q = f.Visible.narrow(tx, q.Where("is_active"))
	if f.Type != "" {
		q = q.Where("document_type = ?", f.Type)
	}
	if f.Status != "" {
		q = q.Where("processing_status = ?", f.Status)
	}
	if f.Tag != "" {
		q = q.Where("tags @> ?::text[]", StringArray{f.Tag})
	}
	if f.ProjectID != nil {
		q = q.Where("project_id = ?", *f.ProjectID)
	}
	if f.Public != nil {
		q = q.Where("is_public = ?", *f.Public)
	}
	return q
}

// WithFiles returns which of these documents exist and have a file, deleted ones whose file was not removed yet included.
func (r Documents) WithFiles(ids []uuid.UUID) (having []uuid.UUID, err error) {
	err = within[Document](r.tx).Where("id IN ? AND file_path <> ''", ids).Pluck("id", &having).Error
	return having, explain(err, "find documents with files")
}

func (r Documents) update(id uuid.UUID, doing string, change map[string]any) error {
	return touched(within[Document](r.tx).Where("id = ?", id).Updates(change), doing, "document")
}
