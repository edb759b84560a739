package embedding

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/workers/internal/provider"
	"github.com/tarento/copilot/workers/internal/vector"
)

// Tasks that an embedding model distinguishes.
const (
	taskDocument = "document"
	taskQuery    = "query"
)

// Handler runs embedding.create jobs.
type Handler struct {
	batcher *Batcher
	vectors *vector.Store
	space   vector.Space
}

var _ runner.Handler = (*Handler)(nil)

// New builds the handler. Space names the model and its dimension.
func New(b *Batcher, v *vector.Store, space vector.Space) *Handler { return &Handler{b, v, space} }

// Kind implements runner.Handler.
func (h *Handler) Kind() events.Kind { return events.KindEmbeddingCreate }

// Handle implements runner.Handler.
func (h *Handler) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	var in events.EmbeddingCreateInput
	if err := run.Input(&in); err != nil {
		return runner.Outcome{}, err
	}
	if in.Model != "" && in.Model != h.space.Model {
		return runner.Outcome{}, fault.New(fault.Invalid, "embedding.unknown_model",
			"The embedding model %q is not served here; %q is.", in.Model, h.space.Model)
	}
	// A call that several jobs share is of the class of the one that started it.
	ctx = provider.WithClass(ctx, run.Job().Class)
	if in.DocumentID != "" {
		return h.document(ctx, run, in)
	}
	return h.texts(ctx, run, in)
}

// texts answers a client's own texts.
func (h *Handler) texts(ctx context.Context, run *runner.Run, in events.EmbeddingCreateInput) (runner.Outcome, error) {
	vectors, usage, err := h.batcher.Embed(ctx, in.Texts, taskDocument)
	if err != nil {
		return runner.Outcome{}, err
	}
	spent := events.Usage{Model: h.space.Model, InputTokens: usage.InputTokens}
	result := events.EmbeddingCreateResult{
		Model: h.space.Model, Dimension: h.space.Dimension, Count: len(vectors), Embeddings: vectors, Usage: spent,
	}
	if in.Store {
		points := make([]vector.Point, len(vectors))
		for i, v := range vectors {
			// The job stands for the document: its texts are points of their own, found again by its id.
			id := vector.PointID(run.Tenant(), run.Job().ID, i)
			points[i] = vector.Point{
				ID: id, DocumentID: run.Job().ID, ChunkID: id, Dense: v, Sparse: vector.EncodeDocument(in.Texts[i]),
				Labels: vector.Labels{ProjectID: run.Job().ProjectID, DocumentType: "embedding"},
			}
			result.VectorIDs = append(result.VectorIDs, id.String())
		}
		if err := h.vectors.Upsert(ctx, run.Tenant(), h.space, points); err != nil {
			return runner.Outcome{}, err
		}
	}
	return runner.Outcome{Result: result, Facts: []events.Fact{spent}}, nil
}

// document embeds a range of the chunks that one indexing of a document has made.
func (h *Handler) document(ctx context.Context, run *runner.Run, in events.EmbeddingCreateInput) (runner.Outcome, error) {
	id, indexing, err := part(in)
	if err != nil {
		return runner.Outcome{}, err
	}
	var doc *store.Document
	var chunks []store.Chunk
	err = run.Read(ctx, func(tx *store.Tx) (err error) {
		if doc, err = tx.Documents().GetBrief(id); err != nil {
			return err
		}
		chunks, err = tx.Chunks().ListOfIndexing(id, indexing, in.FirstChunk, in.Chunks)
		return err
	})
	if err != nil {
		return runner.Outcome{}, err
	}
	if len(chunks) != in.Chunks || !doc.Wants(indexing) {
		return runner.Outcome{}, changed()
	}
	texts := make([]string, len(chunks))
	for i, c := range chunks {
		texts[i] = embeddable(doc.Title, c)
	}
	vectors, usage, err := h.batcher.Embed(ctx, texts, taskDocument)
	if err != nil {
		return runner.Outcome{}, err
	}
	points := make([]vector.Point, len(chunks))
	embedded := make([]store.Embedded, len(chunks))
	for i, c := range chunks {
		points[i] = vector.Point{
			ID: c.ID, DocumentID: id, ChunkID: c.ID, IndexingID: indexing, Labels: labels(doc),
			Dense: vectors[i], Sparse: vector.EncodeDocument(texts[i]),
		}
		embedded[i] = store.Embedded{ChunkID: c.ID, PointID: c.ID}
	}
	if err := h.put(ctx, run, doc, indexing, points); err != nil {
		return runner.Outcome{}, err
	}
	spent := events.Usage{Model: h.space.Model, InputTokens: usage.InputTokens}
	return runner.Outcome{
		Result: events.EmbeddingCreateResult{Model: h.space.Model, Dimension: h.space.Dimension, Count: len(chunks), Usage: spent},
		Facts:  []events.Fact{spent},
		Also: func(tx *store.Tx) error {
			if err := tx.Chunks().MarkEmbedded(h.space.Model, embedded); err != nil {
				return fmt.Errorf("embedding: mark chunks: %w", err)
			}
			return tx.Documents().SetVectors(id, indexing, h.space.Model)
		},
	}, nil
}

// part reads which part of which document is meant.
func part(in events.EmbeddingCreateInput) (document, indexing uuid.UUID, err error) {
	if document, err = runner.ParseID("document", in.DocumentID); err == nil && in.IndexingID != "" {
		indexing, err = runner.ParseID("document", in.IndexingID)
	}
	return document, indexing, err
}

func changed() error {
	return fault.New(fault.Conflict, "document.changed", "The document was changed while it was being indexed.")
}

// putWithin bounds what a worker still does about vectors when their job is not its own any more.
const putWithin = 2 * time.Minute

// put stores points of an indexing and then looks whether the record still wants them, and with these labels: it was read before
// they were embedded, and whoever changes it after this look finds them stored. What was begun cannot be called back, so a worker
// that has lost its job does all of this, too; otherwise its vectors could come after those who removed all others.
func (h *Handler) put(ctx context.Context, run *runner.Run, doc *store.Document, indexing uuid.UUID, points []vector.Point) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putWithin)
	defer cancel()
	stored := h.vectors.Upsert(ctx, run.Tenant(), h.space, points)
	now, err := current(ctx, run, doc.ID)
	if err != nil {
		return errors.Join(stored, err)
	}
	if !now.Wants(indexing) {
		if err := h.vectors.DeleteDocument(ctx, run.Tenant(), doc.ID, indexing); err != nil {
			return err
		}
		return changed()
	}
	if stored != nil {
		return stored
	}
	return relabel(ctx, run, h.vectors, now, labels(doc))
}

// embeddable is what stands for a chunk in the vector space: its text below the headings that it belongs to, because a
// passage often does not repeat what its section is about.
func embeddable(title string, c store.Chunk) string {
	path := append([]string{title}, c.Headings...)
	return strings.Join(path, " > ") + "\n" + c.Text
}
