package store

import "github.com/google/uuid"

// Passage is a chunk as a search shows it.
type Passage struct {
	Chunk

	Title string `gorm:"column:title"` // of the document
}

// PassageFilter says which passages count by what their documents are at this moment. Conditions of different fields must all
// hold; of the values of one field any may. An empty field asks for nothing, except that without All a passage must be visible.
type PassageFilter struct {
	// All are visible, or else those of public documents, of documents without a project and of those of Projects.
	All      bool
	Projects []uuid.UUID
	// ProjectIDs, DocumentTypes and Tags narrow further.
	ProjectIDs    []uuid.UUID
	DocumentTypes []string
	Tags          []string
}

// Passages returns the chunks with these ids, by id, with their documents' titles. Unknown ones are left out, and so are those that
// the filter does not admit, those of documents that are deleted or were never indexed, and those of an indexing that is not the
// one that is searched.
func (r Chunks) Passages(ids []uuid.UUID, f PassageFilter) (map[uuid.UUID]Passage, error) {
	if len(ids) == 0 {
		return map[uuid.UUID]Passage{}, nil
	}
	q := r.tx.db.Table("document_chunks c").Select("c.*, d.title").
		Joins("JOIN documents d ON d.organization_id = c.organization_id AND d.id = c.document_id AND d.indexing_id = c.indexing_id").
		Where("c.organization_id = ? AND c.id IN ? AND d.is_active AND d.is_indexed", r.tx.tenant.UUID(), ids)
	if !f.All {
		q = q.Where("(d.is_public OR d.project_id IS NULL OR d.project_id IN ?)", f.Projects)
	}
	if len(f.ProjectIDs) > 0 {
		q = q.Where("d.project_id IN ?", f.ProjectIDs)
	}
	if len(f.DocumentTypes) > 0 {
		q = q.Where("d.document_type IN ?", f.DocumentTypes)
	}
	if len(f.Tags) > 0 {
		q = q.Where("d.tags && ?::text[]", StringArray(f.Tags))
	}
	var found []Passage
	if err := q.Find(&found).Error; err != nil {
		return nil, explain(err, "read passages")
	}
	passages := make(map[uuid.UUID]Passage, len(found))
	for _, p := range found {
		passages[p.ID] = p
	}
	return passages, nil
}
