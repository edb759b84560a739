package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/workers/internal/ingest/chunk"
	"github.com/tarento/copilot/workers/internal/ingest/parse"
)

// Stages of the job's progress before its children take over.
const (
	stageParse = "parse"
	stageChunk = "chunk"
)

// chunksPerJob is how many chunks one embedding job takes. It fills one call to the model.
const chunksPerJob = 100

// Handler runs document.ingest jobs.
type Handler struct {
	blobs  blob.Store
	parser *parse.Parser
	chunks chunk.Config
}

var _ runner.Handler = (*Handler)(nil)

// New builds the handler.
func New(blobs blob.Store, parser *parse.Parser, chunks chunk.Config) *Handler {
	return &Handler{blobs, parser, chunks}
}

// Kind implements runner.Handler.
func (h *Handler) Kind() events.Kind { return events.KindDocumentIngest }

// Handle implements runner.Handler. What an earlier indexing of the document has stored is searched until the children of this one
// have ended.
func (h *Handler) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	var in events.DocumentIngestInput
	if err := run.Input(&in); err != nil {
		return runner.Outcome{}, err
	}
	id, err := runner.ParseID("document", in.DocumentID)
	if err != nil {
		return runner.Outcome{}, err
	}
	if err := run.Write(ctx, func(tx *store.Tx) error { return tx.Documents().SetProcessing(id) }); err != nil {
		return runner.Outcome{}, err
	}
	doc, err := h.parse(ctx, run, in)
	if err != nil {
		return runner.Outcome{}, err
	}
	pieces := chunk.Split(doc, h.chunks)
	if len(pieces) == 0 {
		return runner.Outcome{}, fault.New(fault.Invalid, "document.no_text", "The document holds no text that could be indexed.")
	}
	// Made anew by each attempt: what an earlier one has left is never taken for this one's.
	indexing, err := uuid.NewV7()
	if err != nil {
		return runner.Outcome{}, fmt.Errorf("ingest: make an id: %w", err)
	}
	rows, err := rows(id, indexing, pieces)
	if err != nil {
		return runner.Outcome{}, err
	}
	return runner.Outcome{
		Result: events.DocumentIngestResult{DocumentID: in.DocumentID, Pages: doc.Pages, Chunks: len(rows)},
		Facts:  []events.Fact{events.JobProgress{Stage: stageChunk, Done: len(rows), Total: len(rows)}},
		Also: func(tx *store.Tx) error {
			if err := tx.Documents().SetParsed(id, store.Parsed{IndexingID: indexing, Content: doc.Text(), Pages: doc.Pages}); err != nil {
				return err
			}
			return tx.Chunks().InsertBatch(rows)
		},
		Children: children(run.Job(), in.DocumentID, indexing, len(rows)),
	}, nil
}

func (h *Handler) parse(ctx context.Context, run *runner.Run, in events.DocumentIngestInput) (*parse.Document, error) {
	file, err := h.blobs.Open(ctx, in.BlobKey)
	if err != nil {
		return nil, fmt.Errorf("ingest: open upload: %w", err)
	}
	defer func() { _ = file.Close() }()
	var lost error
	doc, err := h.parser.Parse(ctx, parse.Source{Name: in.FileName, MediaType: in.MediaType, Content: file, Size: file.Size()},
		func(done, total int) {
			// Progress that could not be shown is no reason to give up; a lost lease is.
			if err := run.Progress(ctx, stageParse, done, total); errors.Is(err, store.ErrLeaseLost) {
				lost = err
			}
		})
	if err == nil {
		err = lost
	}
	return doc, err
}

func rows(document, indexing uuid.UUID, pieces []chunk.Chunk) ([]store.Chunk, error) {
	rows := make([]store.Chunk, len(pieces))
	for i, p := range pieces {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("ingest: make chunk id: %w", err)
		}
		rows[i] = store.Chunk{
			ID: id, DocumentID: document, IndexingID: indexing, ChunkIndex: p.Index, Text: p.Text, Page: p.Page, EndPage: p.EndPage,
			Headings: p.Headings, StartOffset: p.Start, EndOffset: p.End, Tokens: p.Tokens,
		}
	}
	return rows, nil
}

func children(job *store.Job, document string, indexing uuid.UUID, chunks int) []store.NewJob {
	var jobs []store.NewJob
	for first := 0; first < chunks; first += chunksPerJob {
		n := min(chunksPerJob, chunks-first)
		jobs = append(jobs, store.NewJob{
			Kind: events.KindEmbeddingCreate, Class: job.Class, Weight: n, CreatedBy: job.CreatedBy, ProjectID: job.ProjectID,
			DocumentID: job.DocumentID, Traceparent: job.Traceparent,
			Input: events.EmbeddingCreateInput{
				DocumentID: document, IndexingID: indexing.String(), FirstChunk: first, Chunks: n,
			},
		})
	}
	return jobs
}
