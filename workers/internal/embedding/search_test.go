package embedding_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/runnertest"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
	"github.com/tarento/copilot/workers/internal/embedding"
	"github.com/tarento/copilot/workers/internal/gemini"
	"github.com/tarento/copilot/workers/internal/vector"
)

// shelf is an indexed document with one passage, and the vectors that a test adds.
type shelf struct {
	bus     *bus.Bus
	vectors *vector.Store
	space   vector.Space
	tenant  tenant.ID
	passage uuid.UUID
}

const shelved = "The pager rings after seven minutes."

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{space: vector.Space{Model: "m" + strings.ReplaceAll(uuid.NewString(), "-", ""), Dimension: 3}}
	var err error
	if s.tenant, err = tenant.Parse("01900000-0000-7000-8000-000000000a00"); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s.bus = bustest.Connect(t)
	if s.vectors, err = vector.Open(t.Context(), vector.Config{URL: os.Getenv("TEST_QDRANT_URL")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.vectors.Close() })
	if err := s.vectors.Ensure(t.Context(), s.space); err != nil {
		t.Fatal(err)
	}
	records, err := store.Open(t.Context(), store.Config{URL: storetest.NewSeeded(t).AppURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	doc, chunk := store.Document{Title: "Runbook"}, []store.Chunk{{Text: shelved}}
	err = records.InTenant(t.Context(), s.tenant, func(tx *store.Tx) error {
		if err := tx.Documents().Create(&doc); err != nil {
			return err
		}
		chunk[0].DocumentID = doc.ID
		if err := tx.Chunks().InsertBatch(chunk); err != nil {
			return err
		}
		return tx.Documents().SetCompleted(doc.ID)
	})
	if err != nil {
		t.Fatal(err)
	}
	s.passage = chunk[0].ID
	s.put(t, doc.ID, s.passage, shelved)

	searcher := embedding.NewSearcher(&meter{}, s.vectors, s.space, records, s.bus, log)
	runnertest.Background(t, searcher.Run)
	return s
}

func (s *shelf) put(t *testing.T, document, chunk uuid.UUID, text string) {
	t.Helper()
	err := s.vectors.Upsert(t.Context(), s.tenant, s.space, []vector.Point{{
		ID: vector.PointID(s.tenant, document, 0), DocumentID: document, ChunkID: chunk,
		Dense: []float32{1, 0, 0}, Sparse: vector.EncodeDocument(text),
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *shelf) search(t *testing.T, query string, limit int) []events.SearchHit {
	t.Helper()
	for {
		var reply events.SearchReply
		err := s.bus.Request(t.Context(), s.bus.Subjects().Search(), events.SearchRequest{
			TenantID: s.tenant.String(), Scope: events.Scope{All: true}, Query: query, Mode: events.SearchKeyword, Limit: limit,
		}, &reply)
		if fault.Is(err, fault.Unavailable) {
			continue // it has not subscribed yet
		}
		if err != nil || reply.Error != nil {
			t.Fatal(err, reply.Error)
		}
		return reply.Hits
	}
}

func TestVectorsWithoutAPassageDoNotCrowdOutThePassages(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for range 10 {
		// What clients store of their own fits better, but there is nothing to show.
		s.put(t, uuid.New(), uuid.New(), "pager, pager")
	}
	if hits := s.search(t, "pager", 2); len(hits) != 1 || hits[0].ChunkID != s.passage.String() || hits[0].Text != shelved {
		t.Errorf("found %+v", hits)
	}
}

// paused is an Embedder whose provider is left alone.
type paused struct{}

func (paused) Embed(context.Context, string, []string, string, int) ([][]float32, gemini.Usage, error) {
	snooze := runner.Snooze(1500*time.Millisecond, events.WaitingProvider)
	return nil, gemini.Usage{}, fault.Wrap(snooze, fault.Unavailable, "provider.paused", "Later.").After(1500 * time.Millisecond)
}

func TestASearchThatHasToWaitFailsAtOnceAndSaysForWhat(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	searcher := embedding.NewSearcher(paused{}, nil, vector.Space{}, nil, b, slog.New(slog.DiscardHandler))
	runnertest.Background(t, searcher.Run)
	for {
		var reply events.SearchReply
		err := b.Request(t.Context(), b.Subjects().Search(), events.SearchRequest{
			TenantID: "01900000-0000-7000-8000-000000000a00", Scope: events.Scope{All: true}, Query: "x",
		}, &reply)
		if fault.Is(err, fault.Unavailable) {
			continue // it has not subscribed yet
		}
		want := events.SearchError{
			Kind: "unavailable", Failure: events.Failure{Code: "provider.paused", Message: "Later."},
			RetryAfterMS: 1500, WaitingOn: events.WaitingProvider,
		}
		if err != nil || reply.Error == nil || *reply.Error != want {
			t.Errorf("got %+v, %v", reply.Error, err)
		}
		return
	}
}
