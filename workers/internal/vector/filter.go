package vector

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"

	"github.com/tarento/copilot/pkg/tenant"
)

// Filter narrows an operation within a tenant. Conditions of different fields must all hold; of the values of one field
// any may. The zero Filter narrows nothing.
type Filter struct {
	DocumentIDs []uuid.UUID
	// IndexingIDs are those of points; the zero id stands for points without one.
	IndexingIDs   []uuid.UUID
	ProjectIDs    []uuid.UUID
	DocumentTypes []string
	Tags          []string
	// Visible leaves out what somebody may not see; nil leaves out nothing.
	Visible *Visibility
}

// Visibility is what a user who does not see everything sees: public documents, documents that belong to no project, and
// those of the projects listed.
type Visibility struct {
	Projects []uuid.UUID
}

// within is the only place where filters are made. The tenant's condition comes first and is always there.
func within(t tenant.ID, f Filter) (*qdrant.Filter, error) {
	if t.IsZero() {
		return nil, fmt.Errorf("vector: %w", tenant.ErrNone)
	}
	out := &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatchKeyword(fieldTenant, t.String())}}
	add := func(field string, values []string) {
		if len(values) > 0 {
			out.Must = append(out.Must, qdrant.NewMatchKeywords(field, values...))
		}
	}
	add(fieldDocument, texts(f.DocumentIDs))
	if len(f.IndexingIDs) > 0 {
		out.Must = append(out.Must, ofIndexings(f.IndexingIDs))
	}
	add(fieldProject, texts(f.ProjectIDs))
	add(fieldDocumentType, f.DocumentTypes)
	add(fieldTags, f.Tags)
	if f.Visible != nil {
		either := []*qdrant.Condition{
			qdrant.NewMatchBool(fieldPublic, true),
			qdrant.NewMatchKeyword(fieldOwner, ownerOrganization),
		}
		if len(f.Visible.Projects) > 0 {
			either = append(either, qdrant.NewMatchKeywords(fieldProject, texts(f.Visible.Projects)...))
		}
		out.Must = append(out.Must, qdrant.NewFilterAsCondition(&qdrant.Filter{Should: either}))
	}
	return out, nil
}

func ofIndexings(ids []uuid.UUID) *qdrant.Condition {
	either := []*qdrant.Condition{qdrant.NewMatchKeywords(fieldIndexing, texts(ids)...)}
	if slices.Contains(ids, uuid.Nil) {
		either = append(either, qdrant.NewIsEmpty(fieldIndexing))
	}
	return qdrant.NewFilterAsCondition(&qdrant.Filter{Should: either})
}

func texts(ids []uuid.UUID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}
