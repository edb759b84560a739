package embedding

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
	"github.com/tarento/copilot/workers/internal/vector"
)

// Searcher answers search requests over the bus.
type Searcher struct {
	model   Embedder
	vectors *vector.Store
	space   vector.Space
	store   *store.Store
	bus     *bus.Bus
	log     *slog.Logger
}

// NewSearcher builds a searcher over one vector space.
func NewSearcher(m Embedder, v *vector.Store, space vector.Space, s *store.Store, b *bus.Bus, log *slog.Logger) *Searcher {
	return &Searcher{m, v, space, s, b, log}
}

// searchesAtOnce bounds the requests that one worker answers side by side.
const searchesAtOnce = 16

// answerWithin bounds one search; whoever asked has given up by then.
const answerWithin = 30 * time.Second

// Run answers until ctx ends and returns nil then, after the searches under way.
func (s *Searcher) Run(ctx context.Context) error {
	busy := events.SearchReply{Error: &events.SearchError{
		Kind:         fault.Unavailable.String(),
		Failure:      events.Failure{Code: "search.busy", Message: "Too many searches are under way. Try again."},
		RetryAfterMS: time.Second.Milliseconds(),
	}}
	return s.bus.Respond(ctx, s.bus.Subjects().Search(), "search", searchesAtOnce, busy, s.reply)
}

// reply answers a request, also when that panics.
func (s *Searcher) reply(ctx context.Context, data []byte) (reply any) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "search panicked", "panic", p, "stack", string(debug.Stack()))
			err := fault.Wrap(fmt.Errorf("panic: %v", p), fault.Internal, "worker.panic", "The worker failed on this search.")
			reply = events.SearchReply{Error: s.refusal(ctx, err)}
		}
	}()
	hits, err := s.answer(ctx, data)
	if err != nil {
		return events.SearchReply{Error: s.refusal(ctx, err)}
	}
	return events.SearchReply{Hits: hits}
}

func (s *Searcher) refusal(ctx context.Context, err error) *events.SearchError {
	f := fault.Of(err)
	refusal := &events.SearchError{
		Kind: f.Kind.String(), Failure: events.Failure{Code: f.Code, Message: f.Message}, RetryAfterMS: f.RetryAfter.Milliseconds(),
	}
	snooze, waits := errors.AsType[*runner.SnoozeError](err)
	switch {
	case waits:
		refusal.WaitingOn = snooze.On
	case f.Kind.Retryable():
		s.log.WarnContext(ctx, "search failed", "error", err)
	}
	return refusal
}

func (s *Searcher) answer(ctx context.Context, data []byte) ([]events.SearchHit, error) {
	var req events.SearchRequest
	if err := json.Unmarshal(data, &req); err != nil {
		return nil, fault.Wrap(err, fault.Malformed, "search.malformed", "The search request cannot be read.")
	}
	t, err := tenant.Parse(req.TenantID)
	if err != nil {
		return nil, fault.Wrap(err, fault.Malformed, "search.malformed", "The search request names no tenant.")
	}
	query, err := s.query(ctx, req)
	if err != nil {
		return nil, err
	}
	wanted := cmp.Or(query.Limit, vector.DefaultLimit)
	for query.Limit = wanted; ; query.Limit = min(4*query.Limit, vector.MaxLimit) {
		found, err := s.vectors.Search(ctx, t, s.space, query)
		if err != nil {
			return nil, err
		}
		hits, err := s.hydrate(ctx, t, found, query.Filter)
		if err != nil {
			return nil, err
		}
		// Vectors without a passage to show, such as stored texts or documents that failed, must not crowd out the others.
		if len(hits) >= wanted || len(found) < query.Limit || query.Limit >= vector.MaxLimit {
			return hits[:min(len(hits), wanted)], nil
		}
	}
}

func (s *Searcher) query(ctx context.Context, req events.SearchRequest) (vector.Query, error) {
	q := vector.Query{Limit: req.Limit, MinScore: req.MinScore}
	switch req.Mode {
	case events.SearchSemantic:
		q.Mode = vector.Semantic
	case events.SearchKeyword:
		q.Mode = vector.Keyword
	case events.SearchHybrid, "":
		q.Mode = vector.Hybrid
	default:
		return q, fault.New(fault.Invalid, "search.mode", "The mode must be hybrid, semantic or keyword.")
	}
	var err error
	if q.Filter, err = filter(req); err != nil {
		return q, err
	}
	if q.Mode != vector.Semantic {
		q.Sparse = vector.EncodeQuery(req.Query)
	}
	if q.Mode != vector.Keyword {
		vectors, _, err := s.model.Embed(ctx, s.space.Model, []string{req.Query}, taskQuery, s.space.Dimension)
		if err != nil {
			return q, err
		}
		q.Dense = vectors[0]
	}
	return q, nil
}

func filter(req events.SearchRequest) (f vector.Filter, err error) {
	if f.DocumentIDs, err = ids(req.Filter.DocumentIDs); err != nil {
		return f, err
	}
	if f.ProjectIDs, err = ids(req.Filter.ProjectIDs); err != nil {
		return f, err
	}
	f.DocumentTypes, f.Tags = req.Filter.DocumentTypes, req.Filter.Tags
	if !req.Scope.All {
		projects, err := ids(req.Scope.Projects)
		if err != nil {
			return f, err
		}
		f.Visible = &vector.Visibility{Projects: projects}
	}
	return f, nil
}

func ids(texts []string) ([]uuid.UUID, error) {
	var out []uuid.UUID
	for _, text := range texts {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "search.filter", "%q is no id.", text)
		}
		out = append(out, id)
	}
	return out, nil
}

// hydrate reads the passages from the record. A hit whose chunk is gone is left out, and so is one that the filter does not admit
// any more: the vector store follows the record, it does not replace it.
func (s *Searcher) hydrate(ctx context.Context, t tenant.ID, found []vector.Hit, f vector.Filter) ([]events.SearchHit, error) {
	hits := make([]events.SearchHit, 0, len(found))
	if len(found) == 0 {
		return hits, nil
	}
	chunkIDs := make([]uuid.UUID, len(found))
	for i, f := range found {
		chunkIDs[i] = f.ChunkID
	}
	admitted := store.PassageFilter{
		All: f.Visible == nil, ProjectIDs: f.ProjectIDs, DocumentTypes: f.DocumentTypes, Tags: f.Tags,
	}
	if f.Visible != nil {
		admitted.Projects = f.Visible.Projects
	}
	var passages map[uuid.UUID]store.Passage
	err := s.store.View(ctx, t, func(tx *store.Tx) (err error) {
		passages, err = tx.Chunks().Passages(chunkIDs, admitted)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		p, ok := passages[f.ChunkID]
		if !ok {
			continue
		}
		hits = append(hits, events.SearchHit{
			DocumentID: p.DocumentID.String(), ChunkID: p.ID.String(), Title: p.Title, Text: p.Text, Score: f.Score,
			Location: events.SearchLocation{
				Page: p.Page, EndPage: p.EndPage, Heading: strings.Join(p.Headings, " > "),
				Start: p.StartOffset, End: p.EndOffset,
			},
		})
	}
	return hits, nil
}
