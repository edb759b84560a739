package events

// DocumentIngestInput is the input of a document.ingest job. The file itself lies in the blob store.
type DocumentIngestInput struct {
	DocumentID string `json:"document_id"`
	// BlobKey names the file in the blob store.
	BlobKey  string `json:"blob_key"`
	FileName string `json:"file_name"`
	// MediaType is what the client declared; the parser trusts the bytes more.
	MediaType string `json:"media_type"`
}

// DocumentIngestResult is the result of a document.ingest job.
type DocumentIngestResult struct {
	DocumentID string `json:"document_id"`
	Pages      int    `json:"pages"`
	Chunks     int    `json:"chunks"`
}
