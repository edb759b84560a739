package events

// EmbeddingCreateInput is the input of an embedding.create job: either texts of a client, or a range of a document's chunks.
type EmbeddingCreateInput struct {
	// Model is the embedding model; empty means the worker's default.
	Model string   `json:"model,omitempty"`
	Texts []string `json:"texts,omitempty"`
	// Store also keeps the vectors of Texts in the tenant's vector space.
	Store bool `json:"store,omitempty"`
	// DocumentID with FirstChunk and Chunks names the range [FirstChunk, FirstChunk+Chunks) of the chunks that one indexing of a
	// document has made.
	DocumentID string `json:"document_id,omitempty"`
	IndexingID string `json:"indexing_id,omitempty"`
	FirstChunk int    `json:"first_chunk,omitempty"`
	Chunks     int    `json:"chunks,omitempty"`
}

// EmbeddingCreateResult is the result of an embedding.create job. Embeddings has one vector per text, in their order, and is empty
// for a document, whose vectors live in the vector store.
type EmbeddingCreateResult struct {
	Model      string      `json:"model"`
	Dimension  int         `json:"dimension"`
	Count      int         `json:"count"`
	Embeddings [][]float32 `json:"embeddings,omitempty"`
	// VectorIDs name the stored points when Store was set.
	VectorIDs []string `json:"vector_ids,omitempty"`
	Usage     Usage    `json:"usage"`
}
