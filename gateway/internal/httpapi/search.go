package httpapi

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
)

// searchWithin is how long the workers may take to answer.
const searchWithin = 15 * time.Second

// Query is what to look for.
type Query struct {
	Query    string            `json:"query" minLength:"1" maxLength:"4000" example:"taxi from the airport"`
	Mode     events.SearchMode `json:"mode,omitempty" enum:"hybrid,semantic,keyword" default:"hybrid" doc:"By meaning, by words, or both"`
	Limit    int               `json:"limit,omitempty" minimum:"1" maximum:"50" default:"10" doc:"How many passages to answer at most"`
	MinScore float64           `json:"min_score,omitempty" doc:"Leave out passages that score less; scores depend on the mode"`
	Filters  QueryFilters      `json:"filters,omitzero" required:"false" doc:"Search only some of the documents"`
}

// QueryFilters narrow a search. Several values of one filter widen it, several filters narrow it.
type QueryFilters struct {
	DocumentIDs   []uuid.UUID `json:"document_ids,omitempty" maxItems:"100"`
	ProjectIDs    []uuid.UUID `json:"project_ids,omitempty" maxItems:"100"`
	DocumentTypes []string    `json:"document_types,omitempty" maxItems:"100"`
	Tags          []string    `json:"tags,omitempty" maxItems:"100"`
}

// Found are the passages that a search found, best first.
type Found struct {
	Data  []Hit             `json:"data" nullable:"false" doc:"The passages, the best one first"`
	Query string            `json:"query" doc:"What was looked for"`
	Mode  events.SearchMode `json:"mode" enum:"hybrid,semantic,keyword" doc:"How it was looked for"`
	Limit int               `json:"limit"`
}

// Hit is a passage.
type Hit struct {
	DocumentID string   `json:"document_id" format:"uuid"`
	ChunkID    string   `json:"chunk_id" format:"uuid"`
	Title      string   `json:"title" doc:"The document's title"`
	Text       string   `json:"text"`
	Score      float64  `json:"score" doc:"Higher is better; comparable within one answer only"`
	Location   Location `json:"location" doc:"Where it stands in the document"`
}

// Location is where in its document a passage stands.
type Location struct {
	Page    int    `json:"page,omitempty" example:"4" doc:"From 1; left out where the format has no pages"`
	EndPage int    `json:"end_page,omitempty" example:"5" doc:"Where the passage ends"`
	Heading string `json:"heading,omitempty" example:"Travel > Taxis" doc:"The headings above it, outermost first"`
	Start   int    `json:"start" example:"10240" doc:"Offset in the document's text, in bytes"`
	End     int    `json:"end" example:"11264" doc:"The offset where it ends"`
}

type searchInput struct{ Body Query }

type searchQueryInput struct {
	Query    string            `query:"query" required:"true" minLength:"1" maxLength:"4000" doc:"What to look for"`
	Mode     events.SearchMode `query:"mode" enum:"hybrid,semantic,keyword" default:"hybrid" doc:"By meaning, by words, or both"`
	Limit    int               `query:"limit" minimum:"1" maximum:"50" default:"10" doc:"How many passages to answer at most"`
	MinScore float64           `query:"min_score" doc:"Leave out passages that score less"`
}

type foundOutput struct{ Body Found }

func (s *Server) searchOperations() {
	declare := func(id, path, summary string) operation {
		return operation{
			id: id, method: http.MethodPost, path: path, tag: tagDocuments, summary: summary,
			about:  "Among the documents that the caller may read.",
			errors: []int{http.StatusGatewayTimeout},
		}
	}
	in := func(mode events.SearchMode) func(context.Context, *rbac.Principal, *searchInput) (*foundOutput, error) {
		return func(ctx context.Context, p *rbac.Principal, in *searchInput) (*foundOutput, error) {
			q := in.Body
			if mode != "" {
				q.Mode = mode
			}
			return s.search(ctx, p, q)
		}
	}
	secured(s, access.DocumentsSearch, declare("search-documents", "/documents/search", "Search documents"), in(""))
	secured(s, access.DocumentsSearch,
		declare("search-documents-semantic", "/documents/search/semantic", "Search documents by meaning"), in(events.SearchSemantic))
	secured(s, access.DocumentsSearch,
		declare("search-documents-hybrid", "/documents/search/hybrid", "Search documents by meaning and words"), in(events.SearchHybrid))
	query := declare("search-documents-query", "/documents/search/query", "Search documents, as a GET")
	query.method = http.MethodGet
	secured(s, access.DocumentsSearch, query,
		func(ctx context.Context, p *rbac.Principal, in *searchQueryInput) (*foundOutput, error) {
			return s.search(ctx, p, Query{Query: in.Query, Mode: in.Mode, Limit: in.Limit, MinScore: in.MinScore})
		})
}

// search asks the workers, within what the caller may read.
func (s *Server) search(ctx context.Context, p *rbac.Principal, q Query) (*foundOutput, error) {
	if math.IsNaN(q.MinScore) || math.IsInf(q.MinScore, 0) { // in a query; JSON has no such numbers
		return nil, invalid("query.min_score", "expected a number")
	}
	if q.Mode == "" {
		q.Mode = events.SearchHybrid
	}
	if q.Limit == 0 {
		q.Limit = 10
	}
	asking, cancel := context.WithTimeout(ctx, searchWithin)
	defer cancel()
	var reply events.SearchReply
	err := s.Bus.Request(asking, s.Bus.Subjects().Search(), events.SearchRequest{
		TenantID: p.Tenant.String(), Scope: p.Documents(), Query: q.Query, Mode: q.Mode, Limit: q.Limit, MinScore: q.MinScore,
		Filter: events.SearchFilter{
			DocumentIDs: texts(q.Filters.DocumentIDs), ProjectIDs: texts(q.Filters.ProjectIDs),
			DocumentTypes: q.Filters.DocumentTypes, Tags: q.Filters.Tags,
		},
	}, &reply)
	if err != nil {
		return nil, err
	}
	if e := reply.Error; e != nil {
		after := time.Duration(e.RetryAfterMS) * time.Millisecond
		return nil, fault.New(kindNamed(e.Kind), e.Code, "%s", e.Message).After(after)
	}
	found := Found{Data: make([]Hit, len(reply.Hits)), Query: q.Query, Mode: q.Mode, Limit: q.Limit}
	for i, h := range reply.Hits {
		found.Data[i] = Hit{h.DocumentID, h.ChunkID, h.Title, h.Text, h.Score, Location(h.Location)}
	}
	return &foundOutput{found}, nil
}

func texts(ids []uuid.UUID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

// kindNamed reads a kind that came over the bus. What the gateway does not know is internal.
func kindNamed(name string) fault.Kind {
	for kind := range kinds {
		if kind.String() == name {
			return kind
		}
	}
	return fault.Internal
}
