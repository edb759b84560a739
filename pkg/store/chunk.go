package store

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// Chunk is a passage of a document, the unit of search.
type Chunk struct {
	ID             uuid.UUID `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID `gorm:"column:organization_id"`
	DocumentID     uuid.UUID `gorm:"column:document_id"`
	IndexingID     uuid.UUID `gorm:"column:indexing_id"` // which indexing of the document made it
	ChunkIndex     int       `gorm:"column:chunk_index"` // counts from 0 within the indexing
	Text           string    `gorm:"column:text"`
	Page           int       `gorm:"column:page"`     // counts from 1; 0 where the format has no pages
	EndPage        int       `gorm:"column:end_page"` // where the passage ends
	// Headings is the path of headings above the passage, outermost first.
	Headings StringArray `gorm:"column:headings"`
	// StartOffset and EndOffset are byte offsets into the document's content.
	StartOffset int `gorm:"column:start_offset"`
	EndOffset   int `gorm:"column:end_offset"`
	Tokens      int `gorm:"column:tokens"`
	// PointID, EmbeddingModel and EmbeddedAt are nil until the passage's vector is stored.
	PointID        *uuid.UUID `gorm:"column:point_id"`
	EmbeddingModel *string    `gorm:"column:embedding_model"`
	EmbeddedAt     *time.Time `gorm:"column:embedded_at"`
	CreatedAt      time.Time  `gorm:"column:created_at"`
}

// TableName implements GORM's Tabler.
func (Chunk) TableName() string { return "document_chunks" }

// Chunks is the repository of passages within a tenant.
type Chunks struct{ tx *Tx }

// Chunks returns the passages of the transaction's tenant.
func (tx *Tx) Chunks() Chunks { return Chunks{tx} }

// InsertBatch writes passages in one statement and gives ids to those that have none. An index that its indexing has already is
// fault.Conflict, and an unknown document fault.Invalid.
func (r Chunks) InsertBatch(chunks []Chunk) error {
	if len(chunks) == 0 {
		return nil
	}
	n := len(chunks)
	ids, documents, indexings := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n)
	texts, headings := make([]string, n), make([]string, n)
	index, page, endPage := make([]int32, n), make([]int32, n), make([]int32, n)
	start, end, tokens := make([]int32, n), make([]int32, n), make([]int32, n)
	for i := range chunks {
		c := &chunks[i]
		if err := r.tx.own(&c.ID, &c.OrganizationID); err != nil {
			return err
		}
		ids[i], documents[i], indexings[i], texts[i], headings[i] = c.ID, c.DocumentID, c.IndexingID, c.Text, c.Headings.literal()
		index[i], page[i], endPage[i] = int32(c.ChunkIndex), int32(c.Page), int32(max(c.Page, c.EndPage))
		start[i], end[i], tokens[i] = int32(c.StartOffset), int32(c.EndOffset), int32(c.Tokens)
	}
	// Headings differ in number, which an array of arrays cannot hold: they travel as text and are read on the other side.
	_, err := r.tx.exec(`INSERT INTO document_chunks
			(organization_id, id, document_id, indexing_id, chunk_index, text, page, end_page, headings, start_offset, end_offset,
			tokens)
		SELECT $1, c.id, c.document_id, c.indexing_id, c.chunk_index, c.text, c.page, c.end_page, c.headings::text[],
			c.start_offset, c.end_offset, c.tokens
		FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::int[], $8::int[], $9::text[], $10::int[],
				$11::int[], $12::int[])
			AS c (id, document_id, indexing_id, chunk_index, text, page, end_page, headings, start_offset, end_offset, tokens)`,
		r.tx.tenant.UUID(), ids, documents, indexings, index, texts, page, endPage, headings, start, end, tokens)
	return explain(err, "insert chunks")
}

// ByIDs returns the passages with these ids, in their order. Unknown ones are left out.
func (r Chunks) ByIDs(ids []uuid.UUID) ([]Chunk, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var found []Chunk
	if err := within[Chunk](r.tx).Where("id IN ?", ids).Find(&found).Error; err != nil {
		return nil, explain(err, "read chunks")
	}
	byID := make(map[uuid.UUID]Chunk, len(found))
	for _, c := range found {
		byID[c.ID] = c
	}
	chunks := make([]Chunk, 0, len(found))
	for _, id := range ids {
		if c, ok := byID[id]; ok {
			chunks = append(chunks, c)
		}
	}
	return chunks, nil
}

// ListForDocument returns the passages of a document that are searched, with an index in [first, first+count), in order. There are
// none before the document was indexed, and none of a deleted one.
func (r Chunks) ListForDocument(document uuid.UUID, first, count int) ([]Chunk, error) {
	searched := within[Document](r.tx).Select("indexing_id").Where("id = ? AND is_active AND is_indexed", document)
	return r.list(r.of(document).Where("indexing_id = (?)", searched), first, count)
}

// ListOfIndexing returns the passages that one indexing of a document has made, with an index in [first, first+count), in order.
func (r Chunks) ListOfIndexing(document, indexing uuid.UUID, first, count int) ([]Chunk, error) {
	return r.list(r.of(document).Where("indexing_id = ?", indexing), first, count)
}

func (r Chunks) list(q *gorm.DB, first, count int) ([]Chunk, error) {
	var chunks []Chunk
	err := q.Where("chunk_index >= ? AND chunk_index < ?", first, first+count).Order("chunk_index").Find(&chunks).Error
	return chunks, explain(err, "list chunks")
}

func (r Chunks) of(document uuid.UUID) *gorm.DB {
	return within[Chunk](r.tx).Where("document_id = ?", document)
}

// Stale returns the indexings of a document that have left passages and are over: they are neither searched nor under way.
func (r Chunks) Stale(document uuid.UUID) ([]uuid.UUID, error) {
	var stale []uuid.UUID
	err := r.of(document).Distinct("indexing_id").
		Where(`NOT EXISTS (SELECT FROM documents d WHERE d.organization_id = document_chunks.organization_id
			AND d.id = document_chunks.document_id AND d.is_active
			AND document_chunks.indexing_id IN (d.indexing_id, d.draft_id))`).
		Scan(&stale).Error
	return stale, explain(err, "find passages that are over")
}

// DeleteForDocument removes all passages of a document and returns how many there were.
func (r Chunks) DeleteForDocument(document uuid.UUID) (int64, error) {
	gone := r.of(document).Delete(&Chunk{})
	return gone.RowsAffected, explain(gone.Error, "delete chunks")
}

// DeleteIndexings removes the passages that these indexings of a document have made, and returns how many there were.
func (r Chunks) DeleteIndexings(document uuid.UUID, indexings []uuid.UUID) (int64, error) {
	gone := r.of(document).Where("indexing_id IN ?", indexings).Delete(&Chunk{})
	return gone.RowsAffected, explain(gone.Error, "delete chunks of indexings")
}

// Embedded says where the vector of a passage lies.
type Embedded struct {
	ChunkID uuid.UUID
	PointID uuid.UUID
}

// MarkEmbedded records in one statement that the vectors of these passages are stored, and made by that model.
func (r Chunks) MarkEmbedded(model string, done []Embedded) error {
	if len(done) == 0 {
		return nil
	}
	chunks, points := make([]uuid.UUID, len(done)), make([]uuid.UUID, len(done))
	for i, d := range done {
		chunks[i], points[i] = d.ChunkID, d.PointID
	}
	_, err := r.tx.exec(`UPDATE document_chunks c SET point_id = d.point_id, embedding_model = $2, embedded_at = $3
		FROM unnest($4::uuid[], $5::uuid[]) AS d (chunk_id, point_id)
		WHERE c.organization_id = $1 AND c.id = d.chunk_id`,
		r.tx.tenant.UUID(), model, r.tx.db.NowFunc(), chunks, points)
	return explain(err, "mark chunks as embedded")
}
