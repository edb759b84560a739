package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/runnertest"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/workers/internal/embedding"
	"github.com/tarento/copilot/workers/internal/gemini"
	"github.com/tarento/copilot/workers/internal/ingest"
	"github.com/tarento/copilot/workers/internal/ingest/chunk"
	"github.com/tarento/copilot/workers/internal/ingest/parse"
	"github.com/tarento/copilot/workers/internal/vector"
)

// dimension is that of the model in these tests.
const dimension = 3

// model gives every text the same vector, and may do something first.
type model struct {
	mu   sync.Mutex
	then func(ctx context.Context) error
}

func (m *model) Embed(ctx context.Context, _ string, texts []string, _ string, _ int) ([][]float32, gemini.Usage, error) {
	m.mu.Lock()
	then := m.then
	m.mu.Unlock()
	if then != nil {
		if err := then(ctx); err != nil {
			return nil, gemini.Usage{}, err
		}
	}
	return slices.Repeat([][]float32{{1, 0, 0}}, len(texts)), gemini.Usage{}, nil
}

func (m *model) before(then func(ctx context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.then = then
}

// watched tells of every run of a handler that has returned.
type watched struct {
	runner.Handler

	returned chan error
}

func (w watched) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	out, err := w.Handler.Handle(ctx, run)
	select {
	case w.returned <- err:
	default:
	}
	return out, err
}

// library is all that a document meets in its life, but the gateway.
type library struct {
	*runnertest.Bench

	t       *testing.T
	blobs   *blob.Folder
	vectors *vector.Store
	space   vector.Space
	model   *model
	// embedded yields what each embedding job has returned.
	embedded chan error
}

func open(t *testing.T) *library {
	t.Helper()
	l := &library{t: t, model: &model{}, embedded: make(chan error, 100)}
	l.space = vector.Space{Model: "m" + strings.ReplaceAll(uuid.NewString(), "-", ""), Dimension: dimension}
	var err error
	if l.blobs, err = blob.OpenFolder(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.blobs.Close() })
	cfg := vector.Config{URL: os.Getenv("TEST_QDRANT_URL"), Prefix: l.space.Model}
	if l.vectors, err = vector.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.vectors.Close() })
	if err := l.vectors.Ensure(t.Context(), l.space); err != nil {
		t.Fatal(err)
	}
	parser := parse.New(parse.Config{})
	t.Cleanup(func() { _ = parser.Close() })
	batcher := embedding.NewBatcher(l.model, l.space.Model, dimension, 4)
	l.Bench = runnertest.Start(t, runner.Config{},
		ingest.New(l.blobs, parser, chunk.Config{TargetTokens: 16}),
		ingest.NewDeleter(l.blobs),
		watched{embedding.New(batcher, l.vectors, l.space), l.embedded},
		embedding.NewSyncer(l.vectors),
	)
	searcher := embedding.NewSearcher(l.model, l.vectors, l.space, l.Store, l.Bus, slog.New(slog.DiscardHandler))
	runnertest.Background(t, searcher.Run)
	return l
}

func (l *library) in(fn func(tx *store.Tx) error) {
	l.t.Helper()
	if err := l.Store.InTenant(l.t.Context(), l.Tenant, fn); err != nil {
		l.t.Fatal(err)
	}
}

// upload stores a file with as many passages about pagers, and submits its ingest.
func (l *library) upload(passages int) (d *store.Document, job uuid.UUID) {
	l.t.Helper()
	var text strings.Builder
	for i := range passages {
		fmt.Fprintf(&text, "# Rule %d\n\nThe pager of team %d rings after %d minutes, and whoever is on call answers it.\n\n", i, i, i+3)
	}
	d = &store.Document{ID: uuid.Must(uuid.NewV7()), Title: "Runbook", FileName: "runbook.md"}
	d.FilePath = l.Tenant.String() + "/documents/" + d.ID.String()
	if _, err := l.blobs.Put(l.t.Context(), d.FilePath, strings.NewReader(text.String())); err != nil {
		l.t.Fatal(err)
	}
	l.in(func(tx *store.Tx) error {
		if err := tx.Documents().Create(d); err != nil {
			return err
		}
		submitted, err := tx.Jobs().Submit(indexing(d))
		if err == nil {
			job = submitted.ID
		}
		return err
	})
	return d, job
}

func indexing(d *store.Document) store.NewJob {
	return store.NewJob{Kind: events.KindDocumentIngest, DocumentID: &d.ID, Input: events.DocumentIngestInput{
		DocumentID: d.ID.String(), BlobKey: d.FilePath, FileName: d.FileName, MediaType: "text/markdown",
	}}
}

// succeed waits for a job's end.
func (l *library) succeed(job uuid.UUID) {
	l.t.Helper()
	if got := l.UntilEnded(job); got.Status != events.StatusSucceeded {
		l.t.Fatalf("the %s is %s: %v", got.Kind, got.Status, *got.ErrorMessage)
	}
}

// swept waits for the jobs that keep the vector store up to date with a document, and returns how many there were.
func (l *library) swept(document uuid.UUID) int {
	l.t.Helper()
	var jobs []*store.Job
	l.in(func(tx *store.Tx) (err error) {
		jobs, _, err = tx.Jobs().List(store.JobFilter{Kind: events.KindDocumentSync, DocumentID: &document})
		return err
	})
	for _, job := range jobs {
		l.succeed(job.ID)
	}
	return len(jobs)
}

// search finds passages about pagers.
func (l *library) search(scope events.Scope, filter events.SearchFilter) []events.SearchHit {
	l.t.Helper()
	for {
		var reply events.SearchReply
		err := l.Bus.Request(l.t.Context(), l.Bus.Subjects().Search(), events.SearchRequest{
			TenantID: l.Tenant.String(), Scope: scope, Query: "pager", Mode: events.SearchKeyword, Limit: 50, Filter: filter,
		}, &reply)
		if fault.Is(err, fault.Unavailable) {
			continue // it has not subscribed yet
		}
		if err != nil || reply.Error != nil {
			l.t.Fatal(err, reply.Error)
		}
		return reply.Hits
	}
}

func (l *library) expectVectors(document uuid.UUID, want int) {
	l.t.Helper()
	if got, err := l.vectors.CountDocument(l.t.Context(), l.Tenant, document); got != want || err != nil {
		l.t.Errorf("%d vectors, want %d (%v)", got, want, err)
	}
}

func (l *library) read(id uuid.UUID) (d *store.Document) {
	l.t.Helper()
	l.in(func(tx *store.Tx) (err error) {
		d, err = tx.Documents().Get(id)
		return err
	})
	return d
}

// retire deletes a document as the gateway does.
func (l *library) retire(id uuid.UUID) (job uuid.UUID) {
	l.t.Helper()
	l.in(func(tx *store.Tx) error {
		if _, err := tx.Documents().Retire(id, nil); err != nil {
			return err
		}
		submitted, err := tx.Jobs().Submit(deletion(id))
		if err == nil {
			job = submitted.ID
		}
		return err
	})
	return job
}

func deletion(id uuid.UUID) store.NewJob {
	return store.NewJob{
		Kind: events.KindDocumentDelete, DocumentID: &id, Input: events.DocumentDeleteInput{DocumentID: id.String()},
	}
}

func everything() events.Scope { return events.Scope{All: true} }

func TestADeletedDocumentLeavesNothingButItsName(t *testing.T) {
	t.Parallel()
	l := open(t)
	d, job := l.upload(5)
	l.succeed(job)
	doc := l.read(d.ID)
	n := doc.ChunkCount
	if n < 5 || len(doc.VectorIDs) != n || len(l.search(everything(), events.SearchFilter{})) != n {
		t.Fatalf("%d passages, %d vectors", n, len(doc.VectorIDs))
	}
	l.expectVectors(d.ID, n)
	l.UntilEnded(l.Submit(deletion(d.ID)))
	if len(l.search(everything(), events.SearchFilter{})) != n {
		t.Fatal("a document that nobody has deleted was taken away")
	}

	deleted := l.retire(d.ID)
	if hits := l.search(everything(), events.SearchFilter{}); len(hits) != 0 {
		t.Errorf("right after the delete searches find %d passages", len(hits))
	}
	// What is done again, after a crash or by an operator, does no harm.
	for _, job := range []uuid.UUID{deleted, l.Submit(deletion(d.ID))} {
		l.succeed(job)
		l.expectVectors(d.ID, 0)
	}
	if b, err := l.blobs.Open(t.Context(), d.FilePath); !fault.Is(err, fault.NotFound) {
		_ = b.Close()
		t.Errorf("the file is still there: %v", err)
	}
	doc = l.read(d.ID)
	if doc.Title != "Runbook" || doc.Content+doc.Draft+doc.FilePath != "" || len(doc.VectorIDs) != 0 || doc.IsIndexed {
		t.Errorf("what is left is %+v", doc)
	}
	l.in(func(tx *store.Tx) error {
		if gone, err := tx.Chunks().DeleteForDocument(d.ID); gone != 0 || err != nil {
			t.Errorf("%d passages were left, %v", gone, err)
		}
		return nil
	})
	stages := map[string]bool{}
	for _, e := range l.Events(deleted) {
		if e.Type == events.TypeJobProgress {
			stages[string(e.Data)] = true
		}
	}
	if !stages[`{"stage":"vectors","done":1,"total":1}`] {
		t.Errorf("the progress was %v", stages)
	}
}

func TestADocumentIsFoundWhileItIsIndexedAgain(t *testing.T) {
	t.Parallel()
	l := open(t)
	d, job := l.upload(4)
	l.succeed(job)
	before := l.search(everything(), events.SearchFilter{})

	hold, reached := make(chan struct{}), make(chan struct{}, 100)
	l.model.before(func(ctx context.Context) error {
		reached <- struct{}{}
		select {
		case <-hold:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	l.in(func(tx *store.Tx) error {
		current, _, err := tx.Documents().Reindex(d.ID, nil)
		if err != nil {
			return err
		}
		again, err := tx.Jobs().Submit(indexing(current))
		job = again.ID
		return err
	})
	<-reached
	if hits := l.search(everything(), events.SearchFilter{}); !slices.Equal(hits, before) {
		t.Errorf("while it is indexed again searches find\n%v, not\n%v", hits, before)
	}
	l.model.before(nil)
	close(hold)
	l.succeed(job)
	after := l.search(everything(), events.SearchFilter{})
	if len(after) != len(before) {
		t.Errorf("afterwards searches find %d passages, not %d", len(after), len(before))
	}
	for _, hit := range after {
		if slices.ContainsFunc(before, func(old events.SearchHit) bool { return old.ChunkID == hit.ChunkID }) {
			t.Error("a passage of the indexing before is still found")
		}
	}
	if n := l.swept(d.ID); n != 1 {
		t.Errorf("%d jobs remove the old vectors, want one", n)
	}
	l.expectVectors(d.ID, len(after))
}

func TestAnIngestThatFailsLeavesNoVectors(t *testing.T) {
	t.Parallel()
	l := open(t)
	var calls int
	var mu sync.Mutex
	l.model.before(func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls == 1 {
			return nil
		}
		return fault.New(fault.Invalid, "model.rejected", "The model refuses this text.")
	})
	d, job := l.upload(120) // more than one embedding job
	if got := l.UntilEnded(job); got.Status != events.StatusFailed || *got.ErrorCode != "model.rejected" {
		t.Fatalf("the ingest is %s", got.Status)
	}
	if n := l.swept(d.ID); n != 1 {
		t.Errorf("%d jobs remove what it left, want one", n)
	}
	l.expectVectors(d.ID, 0)
	if doc := l.read(d.ID); doc.ProcessingStatus != store.ProcessingFailed || doc.IsIndexed || doc.Draft != "" {
		t.Errorf("the document is %+v", doc)
	}
}

// A worker that has lost its job and does not know it yet stores vectors after everybody else has removed them.
func TestVectorsThatComeTooLateAreTakenAwayAgain(t *testing.T) {
	t.Parallel()
	l := open(t)
	deleted := make(chan uuid.UUID, 1)
	var document uuid.UUID
	var once sync.Once
	l.model.before(func(context.Context) error {
		once.Do(func() {
			job := l.retire(document)
			l.succeed(job)
			deleted <- job
		})
		return nil
	})
	document = uuid.Must(uuid.NewV7())
	l.in(func(tx *store.Tx) error {
		d := &store.Document{ID: document, Title: "Runbook"}
		if err := tx.Documents().Create(d); err != nil {
			return err
		}
		passages := []store.Chunk{{DocumentID: document, IndexingID: uuid.Must(uuid.NewV7()), Text: "The pager rings."}}
		if err := tx.Documents().SetParsed(document, store.Parsed{IndexingID: passages[0].IndexingID, Content: "x"}); err != nil {
			return err
		}
		if err := tx.Chunks().InsertBatch(passages); err != nil {
			return err
		}
		_, err := tx.Jobs().Submit(store.NewJob{Kind: events.KindEmbeddingCreate, Input: events.EmbeddingCreateInput{
			DocumentID: document.String(), IndexingID: passages[0].IndexingID.String(), Chunks: 1,
		}})
		return err
	})
	l.returned("document.changed")
	<-deleted
	l.expectVectors(document, 0)
}

// returned waits for an embedding job to return, with a fault of that code or, where that is empty, with none.
func (l *library) returned(code string) {
	l.t.Helper()
	select {
	case err := <-l.embedded:
		if code == "" && err != nil || code != "" && fault.Of(err).Code != code {
			l.t.Errorf("the embedding job returned %v, want %q", err, code)
		}
	case <-time.After(runnertest.Patience):
		l.t.Fatal("no embedding job has returned")
	}
}

func TestAChangeOfWhoMaySeeADocumentIsFelt(t *testing.T) {
	t.Parallel()
	l := open(t)
	d, job := l.upload(3)
	project := uuid.MustParse("01900000-0000-7000-8000-000000000a31")
	// It is changed while it is indexed, and again afterwards.
	var once sync.Once
	l.model.before(func(ctx context.Context) (err error) {
		once.Do(func() {
			err = l.change(ctx, d.ID, map[string]any{"project_id": project, "tags": store.StringArray{"red"}})
		})
		return err
	})
	l.succeed(job)
	nobody, member := events.Scope{}, events.Scope{Projects: []string{project.String()}}
	red := events.SearchFilter{Tags: []string{"red"}}
	if a, b := len(l.search(nobody, red)), len(l.search(member, red)); a != 0 || b < 3 {
		t.Errorf("in a project: strangers find %d passages, members %d", a, b)
	}
	// Narrower: at once, whatever the vector store still says.
	if err := l.change(t.Context(), d.ID, map[string]any{"tags": store.StringArray{}}); err != nil {
		t.Fatal(err)
	}
	if hits := l.search(member, red); len(hits) != 0 {
		t.Errorf("a tag that was taken away finds %d passages", len(hits))
	}
	// Wider: when the job has run.
	if err := l.change(t.Context(), d.ID, map[string]any{"is_public": true}); err != nil {
		t.Fatal(err)
	}
	l.in(func(tx *store.Tx) error {
		doc, err := tx.Documents().GetBrief(d.ID)
		if err != nil {
			return err
		}
		_, err = tx.Jobs().Submit(doc.Sync(nil))
		return err
	})
	l.swept(d.ID)
	if hits := l.search(nobody, events.SearchFilter{}); len(hits) < 3 {
		t.Errorf("after it was made public strangers find %d passages", len(hits))
	}
}

func (l *library) change(ctx context.Context, id uuid.UUID, columns map[string]any) error {
	return l.Store.InTenant(ctx, l.Tenant, func(tx *store.Tx) error {
		return tx.DB().Model(&store.Document{}).Where("id = ?", id).Updates(columns).Error
	})
}
