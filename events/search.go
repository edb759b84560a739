package events

// SearchMode says how passages are found.
type SearchMode string

// The modes.
const (
	SearchHybrid   SearchMode = "hybrid"   // dense and sparse, fused by reciprocal rank
	SearchSemantic SearchMode = "semantic" // dense vectors only; the score is the cosine
	SearchKeyword  SearchMode = "keyword"  // sparse vectors only; the score is BM25-like
)

// Scope is what a user may read: every document, or public ones, those without a project, and those of Projects.
type Scope struct {
	All      bool     `json:"all,omitempty"`
	Projects []string `json:"projects,omitempty"`
}

// SearchFilter narrows a search. Empty fields do not.
type SearchFilter struct {
	DocumentIDs   []string `json:"document_ids,omitempty"`
	ProjectIDs    []string `json:"project_ids,omitempty"`
	DocumentTypes []string `json:"document_types,omitempty"`
	Tags          []string `json:"tags,omitempty"`
}

// SearchRequest is answered by the embedding workers over request-reply.
type SearchRequest struct {
	TenantID string       `json:"tenant_id"`
	Scope    Scope        `json:"scope"`
	Query    string       `json:"query"`
	Mode     SearchMode   `json:"mode"`
	Limit    int          `json:"limit"`
	MinScore float64      `json:"min_score,omitempty"`
	Filter   SearchFilter `json:"filter"`
}

// SearchReply holds the hits, best first, or the failure.
type SearchReply struct {
	Hits []SearchHit `json:"hits"`
	// Error is set instead of Hits when the search failed. Kind is the fault's kind by name.
	Error *SearchError `json:"error,omitempty"`
}

// SearchError carries a failure across the request-reply boundary.
type SearchError struct {
	Kind string `json:"kind"`
	Failure
	// RetryAfterMS is when asking again makes sense, in milliseconds; zero when nobody knows.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
	// WaitingOn is what a job that needs the search waits for until then; WaitingNothing where it should fail.
	WaitingOn WaitingOn `json:"waiting_on,omitempty"`
}

// SearchHit is a passage.
type SearchHit struct {
	DocumentID string         `json:"document_id"`
	ChunkID    string         `json:"chunk_id"`
	Title      string         `json:"title"`
	Text       string         `json:"text"`
	Score      float64        `json:"score"`
	Location   SearchLocation `json:"location"`
}

// SearchLocation says where in the document a passage stands.
type SearchLocation struct {
	// Page counts from 1; zero where the format has no pages. EndPage is where the passage ends.
	Page    int `json:"page,omitempty"`
	EndPage int `json:"end_page,omitempty"`
	// Heading is the path of headings above the passage, outermost first, joined by " > ".
	Heading string `json:"heading,omitempty"`
	// Start and End are offsets into the document's text, in bytes.
	Start int `json:"start"`
	End   int `json:"end"`
}
