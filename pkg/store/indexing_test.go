package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// draft writes what an ingest writes when it has parsed the document: the text and as many passages.
func draft(tx *store.Tx, document uuid.UUID, text string, passages int) (indexing uuid.UUID, chunks []store.Chunk, err error) {
	indexing = uuid.Must(uuid.NewV7())
	if err := tx.Documents().SetParsed(document, store.Parsed{IndexingID: indexing, Content: text, Pages: 3}); err != nil {
		return indexing, nil, err
	}
	for i := range passages {
		chunks = append(chunks, store.Chunk{
			DocumentID: document, IndexingID: indexing, ChunkIndex: i, Text: fmt.Sprintf("%s, passage %d", text, i),
		})
	}
	return indexing, chunks, tx.Chunks().InsertBatch(chunks)
}

// embed records vectors of passages, each under the id of its passage.
func embed(tx *store.Tx, document, indexing uuid.UUID, chunks []store.Chunk) error {
	done := make([]store.Embedded, len(chunks))
	for i, c := range chunks {
		done[i] = store.Embedded{ChunkID: c.ID, PointID: c.ID}
	}
	if err := tx.Chunks().MarkEmbedded("model", done); err != nil {
		return err
	}
	return tx.Documents().SetVectors(document, indexing, "model")
}

// indexed creates a document that is searched.
func (w *world) indexed(d *store.Document, text string, passages int) (indexing uuid.UUID, chunks []store.Chunk) {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) (err error) {
		if err := tx.Documents().Create(d); err != nil {
			return err
		}
		if indexing, chunks, err = draft(tx, d.ID, text, passages); err != nil {
			return err
		}
		if err := tx.Documents().SetCompleted(d.ID); err != nil {
			return err
		}
		return embed(tx, d.ID, indexing, chunks)
	})
	return indexing, chunks
}

func (w *world) read(id uuid.UUID) (d *store.Document) {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) (err error) {
		d, err = tx.Documents().Get(id)
		return err
	})
	return d
}

func idsOf(chunks []store.Chunk) []uuid.UUID {
	ids := make([]uuid.UUID, len(chunks))
	for i, c := range chunks {
		ids[i] = c.ID
	}
	return ids
}

// found returns which of the passages a search may show, by index.
func (w *world) found(chunks []store.Chunk, f store.PassageFilter) (found []int) {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) error {
		passages, err := tx.Chunks().Passages(idsOf(chunks), f)
		for i, c := range chunks {
			if _, ok := passages[c.ID]; ok {
				found = append(found, i)
			}
		}
		return err
	})
	return found
}

func TestADocumentGoesThroughProcessing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	d := store.Document{Title: "Report"}
	w.in(w.acme, func(tx *store.Tx) error { return tx.Documents().Create(&d) })
	var indexing uuid.UUID
	var chunks []store.Chunk
	for _, step := range []struct {
		name  string
		do    func(tx *store.Tx) error
		check func(d *store.Document) bool
	}{
		{"created", func(*store.Tx) error { return nil }, func(d *store.Document) bool {
			return d.ProcessingStatus == store.ProcessingPending && d.IsActive && d.VectorIDs != nil && len(d.VectorIDs) == 0
		}},
		{"failed", func(tx *store.Tx) error { return tx.Documents().SetFailed(d.ID, "It is encrypted.") }, func(d *store.Document) bool {
			return d.ProcessingStatus == store.ProcessingFailed && d.ProcessingError == "It is encrypted." && !d.IsIndexed
		}},
		{"processing", func(tx *store.Tx) error { return tx.Documents().SetProcessing(d.ID) }, func(d *store.Document) bool {
			return d.ProcessingStatus == store.ProcessingRunning && d.ProcessingError == ""
		}},
		{
			"parsed", func(tx *store.Tx) (err error) {
				indexing, chunks, err = draft(tx, d.ID, "text", 3)
				return err
			},
			func(d *store.Document) bool {
				return d.Draft == "text" && d.Content == "" && d.PageCount == 3 && !d.IsIndexed && d.Wants(indexing)
			},
		},
		{
			"embedded in part", func(tx *store.Tx) error { return embed(tx, d.ID, indexing, chunks[1:]) },
			func(d *store.Document) bool { return len(d.VectorIDs) == 0 && d.EmbeddingModel == "" },
		},
		{"completed", func(tx *store.Tx) error { return tx.Documents().SetCompleted(d.ID) }, func(d *store.Document) bool {
			return d.ProcessingStatus == store.ProcessingCompleted && d.IsIndexed && d.Content == "text" && d.Draft == "" &&
				d.ChunkCount == 3 && d.IndexingID == indexing && d.DraftID == uuid.Nil && d.UpdatedAt.After(d.CreatedAt)
		}},
		{
			"embedded", func(tx *store.Tx) error { return embed(tx, d.ID, indexing, chunks[:1]) },
			func(d *store.Document) bool {
				return d.EmbeddingModel == "model" && len(d.VectorIDs) == 3 && d.VectorIDs[0] == chunks[0].ID.String() &&
					d.VectorIDs[2] == chunks[2].ID.String()
			},
		},
	} {
		w.in(w.acme, step.do)
		if got := w.read(d.ID); !step.check(got) {
			t.Errorf("after %s: %+v", step.name, got)
		}
	}
	w.refused(w.startup, fault.NotFound, "document.not_found", func(tx *store.Tx) error { return tx.Documents().SetCompleted(d.ID) })
}

func TestWhatWasIndexedIsSearchedUntilTheNextIndexingIsComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	d := &store.Document{Title: "Report"}
	all := store.PassageFilter{All: true}
	first, old := w.indexed(d, "old", 2)

	var second uuid.UUID
	var fresh []store.Chunk
	w.in(w.acme, func(tx *store.Tx) (err error) {
		second, fresh, err = draft(tx, d.ID, "new", 3)
		return err
	})
	if got := w.found(append(slices.Clone(old), fresh...), all); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("while it is indexed again searches find %v", got)
	}
	if doc := w.read(d.ID); doc.Content != "old" || !doc.IsIndexed || len(doc.VectorIDs) != 2 || !doc.Wants(first) || !doc.Wants(second) {
		t.Errorf("while it is indexed again the document is %+v", doc)
	}
	w.stale(d.ID)

	w.in(w.acme, func(tx *store.Tx) error { return tx.Documents().SetFailed(d.ID, "The model is away.") })
	if got := w.found(append(slices.Clone(old), fresh...), all); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("after the second indexing has failed searches find %v", got)
	}
	w.stale(d.ID, second)

	var third uuid.UUID
	w.in(w.acme, func(tx *store.Tx) (err error) {
		if third, fresh, err = draft(tx, d.ID, "newest", 3); err != nil {
			return err
		}
		return tx.Documents().SetCompleted(d.ID)
	})
	if got := w.found(append(slices.Clone(old), fresh...), all); !slices.Equal(got, []int{2, 3, 4}) {
		t.Errorf("after the third indexing searches find %v", got)
	}
	w.stale(d.ID, first, second)
	if doc := w.read(d.ID); doc.Content != "newest" || doc.ChunkCount != 3 || doc.Wants(first) || !doc.Wants(third) {
		t.Errorf("after the third indexing the document is %+v", doc)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		if gone, err := tx.Chunks().DeleteIndexings(d.ID, []uuid.UUID{first, second}); gone != 5 || err != nil {
			t.Errorf("deleted %d passages that are over, %v", gone, err)
		}
		listed, err := tx.Chunks().ListForDocument(d.ID, 1, 10)
		if len(listed) != 2 || listed[0].ID != fresh[1].ID {
			t.Errorf("lists %+v", listed)
		}
		return err
	})
	w.stale(d.ID)
}

// stale expects exactly these indexings of a document to be over.
func (w *world) stale(document uuid.UUID, want ...uuid.UUID) {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) error {
		got, err := tx.Chunks().Stale(document)
		slices.SortFunc(got, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
		if !slices.Equal(got, want) {
			w.t.Errorf("the indexings that are over are %v, want %v", got, want)
		}
		return err
	})
}

func TestPassagesAreShownByWhatTheirDocumentIsNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	d := &store.Document{Title: "Report", ProjectID: &acmeProject, DocumentType: "pdf", Tags: []string{"red", "blue"}}
	_, chunks := w.indexed(d, "text", 1)
	for _, step := range []struct {
		change string
		filter store.PassageFilter
		want   bool
	}{
		{"", store.PassageFilter{All: true}, true},
		{"", store.PassageFilter{}, false},
		{"", store.PassageFilter{Projects: []uuid.UUID{acmeProject}}, true},
		{"", store.PassageFilter{Projects: []uuid.UUID{uuid.New()}}, false},
		{"", store.PassageFilter{All: true, ProjectIDs: []uuid.UUID{uuid.New(), acmeProject}}, true},
		{"", store.PassageFilter{All: true, ProjectIDs: []uuid.UUID{uuid.New()}}, false},
		{"", store.PassageFilter{All: true, DocumentTypes: []string{"pdf"}, Tags: []string{"blue", "green"}}, true},
		{"", store.PassageFilter{All: true, DocumentTypes: []string{"pdf"}, Tags: []string{"green"}}, false},
		{"", store.PassageFilter{All: true, DocumentTypes: []string{"docx"}, Tags: []string{"blue"}}, false},
		{"is_public = true", store.PassageFilter{}, true},
		{"is_public = false, project_id = NULL", store.PassageFilter{}, true},
		{"tags = '{}'", store.PassageFilter{All: true, Tags: []string{"red"}}, false},
		{"is_indexed = false", store.PassageFilter{All: true}, false},
		{"is_indexed = true, is_active = false", store.PassageFilter{All: true}, false},
	} {
		if step.change != "" {
			w.asOwner("UPDATE documents SET "+step.change+" WHERE id = $1", d.ID)
		}
		if got := len(w.found(chunks, step.filter)) == 1; got != step.want {
			t.Errorf("after %q, %+v: shown %t, want %t", step.change, step.filter, got, step.want)
		}
	}
	w.in(w.startup, func(tx *store.Tx) error {
		passages, err := tx.Chunks().Passages(idsOf(chunks), store.PassageFilter{All: true})
		if len(passages) != 0 {
			t.Errorf("another tenant is shown %+v", passages)
		}
		return err
	})
}

// ingesting is a family whose ingest has left passages, and its first child, claimed.
func (w *engineWorld) ingesting(children int) (parent, child *store.Job) {
	w.t.Helper()
	parent, kids := w.family(children)
	w.in(w.acme, func(tx *store.Tx) error {
		_, _, err := draft(tx, *parent.DocumentID, "text", 4)
		return err
	})
	return parent, w.claim(kids[0].ID)
}

func (w *engineWorld) jobs(document uuid.UUID, kind events.Kind) (jobs []*store.Job) {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) (err error) {
		jobs, _, err = tx.Jobs().List(store.JobFilter{Kind: kind, DocumentID: &document, Limit: 100})
		return err
	})
	return jobs
}

func TestARetiredDocumentIsNobodysAndItsJobsStop(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent, child := w.ingesting(3)
	id := *parent.DocumentID
	w.refused(w.acme, fault.Precondition, "precondition.failed", func(tx *store.Tx) error {
		_, err := tx.Documents().Retire(id, store.Match{1})
		return err
	})
	w.refused(w.startup, fault.NotFound, "document.not_found", func(tx *store.Tx) error {
		_, err := tx.Documents().Retire(id, nil)
		return err
	})
	var stopped []uuid.UUID
	w.in(w.acme, func(tx *store.Tx) (err error) {
		stopped, err = tx.Documents().Retire(id, store.Match{store.RevisionAt(w.document(id).UpdatedAt)})
		return err
	})
	if len(stopped) != 4 || !slices.Contains(stopped, parent.ID) || !slices.Contains(stopped, child.ID) {
		t.Errorf("stopped %v", stopped)
	}
	for _, job := range stopped {
		if got := w.get(w.acme, job); got.Status != events.StatusCancelled {
			t.Errorf("a job is %s", got.Status)
		}
	}
	if err := w.end(child, store.Succeed(nil)); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("a worker wrote for a deleted document: %v", err)
	}
	if jobs := w.jobs(id, events.KindDocumentSync); len(jobs) != 0 {
		t.Errorf("%d jobs do what the delete does", len(jobs))
	}
	for name, again := range map[string]func(tx *store.Tx) error{
		"retire":  func(tx *store.Tx) error { _, err := tx.Documents().Retire(id, nil); return err },
		"index":   func(tx *store.Tx) error { _, _, err := tx.Documents().Reindex(id, nil); return err },
		"process": func(tx *store.Tx) error { return tx.Documents().SetProcessing(id) },
		"parse":   func(tx *store.Tx) error { return tx.Documents().SetParsed(id, store.Parsed{}) },
		"read": func(tx *store.Tx) error {
			_, err := tx.Documents().GetVisible(id, store.Visibility{All: true})
			return err
		},
	} {
		if err := w.InTenant(t.Context(), w.acme, again); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 2 {
		w.in(w.acme, func(tx *store.Tx) error { return tx.Documents().Erase(id) })
	}
	if d := w.document(id); d.IsActive || d.Content+d.Draft+d.Summary+d.FilePath != "" || d.Title != "T" || d.FileName != "t.txt" {
		t.Errorf("what is left is %+v", d)
	}
}

func TestOnlyARetiredDocumentIsErased(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	d := &store.Document{Title: "Report"}
	w.indexed(d, "text", 1)
	w.refused(w.acme, fault.NotFound, "document.not_found", func(tx *store.Tx) error { return tx.Documents().Erase(d.ID) })
	if got := w.read(d.ID); got.Content != "text" {
		t.Errorf("the document is %+v", got)
	}
}

func TestIndexingAgainReplacesTheIngestUnderWay(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent, child := w.ingesting(2)
	id := *parent.DocumentID
	again := func(tx *store.Tx) error {
		_, err := tx.Jobs().Submit(store.NewJob{Kind: events.KindDocumentIngest, DocumentID: &id, Input: events.DocumentIngestInput{}})
		return err
	}
	w.refused(w.acme, fault.Conflict, "document.busy", again)
	w.in(w.acme, func(tx *store.Tx) error {
		d, stopped, err := tx.Documents().Reindex(id, nil)
		if err != nil {
			return err
		}
		if len(stopped) != 3 || d.ProcessingStatus != store.ProcessingPending || d.FileName != "t.txt" {
			t.Errorf("stopped %v, the document is %+v", stopped, d)
		}
		return again(tx)
	})
	if err := w.end(child, store.Succeed(nil)); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("a worker of the replaced ingest ended: %v", err)
	}
	if d := w.document(id); d.ProcessingStatus != store.ProcessingPending || d.ProcessingError != "" || d.DraftID != uuid.Nil {
		t.Errorf("the document is %+v", d)
	}
	if jobs := w.jobs(id, events.KindDocumentIngest); len(jobs) != 2 || jobs[0].Status != events.StatusQueued {
		t.Errorf("%d ingests", len(jobs))
	}
	if jobs := w.jobs(id, events.KindDocumentSync); len(jobs) != 1 {
		t.Errorf("%d jobs remove what the replaced ingest has left", len(jobs))
	}
}

func TestAnIngestThatLeavesPassagesBehindHasThemRemoved(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		passages bool
		end      func(w *engineWorld, parent, child *store.Job) error
		sweeps   int
	}{
		"a part fails": {true, func(w *engineWorld, _, child *store.Job) error {
			return w.end(child, store.Fail(events.Failure{Code: "x", Message: "It is bad."}, false))
		}, 1},
		"it is cancelled": {true, func(w *engineWorld, parent, _ *store.Job) error {
			return w.InTenant(w.t.Context(), w.acme, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(parent.ID); return err })
		}, 1},
		"it fails before there were any": {false, func(w *engineWorld, _, child *store.Job) error {
			return w.end(child, store.Fail(events.Failure{Code: "x", Message: "It is bad."}, false))
		}, 0},
		"it is the first and ends well": {true, func(w *engineWorld, _, child *store.Job) error {
			return w.end(child, store.Succeed(nil))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEngineWorld(t)
			parent, kids := w.family(1)
			if tc.passages {
				w.in(w.acme, func(tx *store.Tx) error {
					_, _, err := draft(tx, *parent.DocumentID, "text", 2)
					return err
				})
			}
			if err := tc.end(w, parent, w.claim(kids[0].ID)); err != nil {
				t.Fatal(err)
			}
			if jobs := w.jobs(*parent.DocumentID, events.KindDocumentSync); len(jobs) != tc.sweeps {
				t.Errorf("%d jobs remove what it left, want %d", len(jobs), tc.sweeps)
			}
		})
	}
}

func TestRetiringMeetsTheEndsOfPartsWithoutDeadlock(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent, kids := w.family(8)
	id := *parent.DocumentID
	var group errgroup.Group
	for _, kid := range kids {
		group.Go(func() error {
			job, err := w.engine.Claim(t.Context(), kid.ID, "w", leaseTTL)
			if err != nil || job == nil {
				return err
			}
			if err := w.end(job, store.Succeed(nil)); !errors.Is(err, store.ErrLeaseLost) {
				return err
			}
			return nil
		})
	}
	var retired atomic.Int32
	for range 3 {
		group.Go(func() error {
			err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error { _, err := tx.Documents().Retire(id, nil); return err })
			if err == nil {
				retired.Add(1)
			}
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if d := w.document(id); retired.Load() != 1 || d.IsActive {
		t.Errorf("retired %d times", retired.Load())
	}
	for _, job := range append(kids, parent) {
		if got := w.get(w.acme, job.ID); !got.Status.Terminal() {
			t.Errorf("a job of a deleted document is %s", got.Status)
		}
	}
}

func TestOneOfTwoWhoIndexAgainAtOnceWins(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent, _ := w.family(2)
	id := *parent.DocumentID
	var group errgroup.Group
	var refused atomic.Int32
	for range 4 {
		group.Go(func() error {
			err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
				if _, _, err := tx.Documents().Reindex(id, nil); err != nil {
					return err
				}
				_, err := tx.Jobs().Submit(store.NewJob{
					Kind: events.KindDocumentIngest, DocumentID: &id, Input: events.DocumentIngestInput{DocumentID: id.String()},
				})
				return err
			})
			if fault.Is(err, fault.Conflict) {
				refused.Add(1)
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, job := range w.jobs(id, events.KindDocumentIngest) {
		if !job.Status.Terminal() {
			open++
		}
	}
	if open != 1 || refused.Load() == 4 {
		t.Errorf("%d ingests are open, %d of 4 were refused", open, refused.Load())
	}
}

func TestAJobThatFollowsAChangeCannotBeCancelled(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	for _, kind := range []events.Kind{events.KindDocumentDelete, events.KindDocumentSync} {
		job := w.submit(w.acme, store.NewJob{Kind: kind})
		w.refused(w.acme, fault.Conflict, "job.uncancellable", func(tx *store.Tx) error {
			_, err := tx.Jobs().Cancel(job.ID)
			return err
		})
		if got := w.get(w.acme, job.ID); got.Status != events.StatusQueued {
			t.Errorf("a %s is %s", kind, got.Status)
		}
	}
}
