package events

// DocumentSyncInput is the input of a document.sync job, which makes the vector store say what the record says about a document:
// who may see it, its type and its tags. It removes the passages that are not searched any more, and all of a deleted document.
type DocumentSyncInput struct {
	DocumentID string `json:"document_id"`
}

// DocumentSyncResult is the result of a document.sync job. Vectors is how many the document has now, in all of the vector store.
type DocumentSyncResult struct {
	DocumentID string `json:"document_id"`
	Vectors    int    `json:"vectors"`
}
