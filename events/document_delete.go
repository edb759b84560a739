package events

// DocumentDeleteInput is the input of a document.delete job. The document has been marked as deleted before: nobody finds it any
// more. The job removes its file, its text and, through a document.sync job that it waits for, its passages and their vectors.
type DocumentDeleteInput struct {
	DocumentID string `json:"document_id"`
}

// DocumentDeleteResult is the result of a document.delete job, which succeeds when a count has shown that no vector is left.
type DocumentDeleteResult struct {
	DocumentID string `json:"document_id"`
}
