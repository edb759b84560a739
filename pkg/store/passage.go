package store

import "github.com/google/uuid"

// Passage is a chunk as a search shows it.
type Passage struct {
	Chunk
	Title string // of the document
}

// Passages returns the chunks with these ids, by id, with their documents' titles. Unknown ones are left out, and so are those
// of documents that are no longer active, or whose indexing is under way or failed.
func (r Chunks) Passages(ids []uuid.UUID) (map[uuid.UUID]Passage, error) {
	chunks, err := r.ByIDs(ids)
	if err != nil {
		return nil, err
	}
	documents := make([]uuid.UUID, len(chunks))
	for i, c := range chunks {
		documents[i] = c.DocumentID
	}
	var titled []Document
	err = within[Document](r.tx).Select("id", "title").Where("id IN ? AND is_active AND is_indexed", documents).Find(&titled).Error
	if err != nil {
		return nil, explain(err, "read titles of passages")
	}
	titles := make(map[uuid.UUID]string, len(titled))
	for _, d := range titled {
		titles[d.ID] = d.Title
	}
	passages := make(map[uuid.UUID]Passage, len(chunks))
	for _, c := range chunks {
		if title, ok := titles[c.DocumentID]; ok {
			passages[c.ID] = Passage{Chunk: c, Title: title}
		}
	}
	return passages, nil
}
