package vector

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// Mode says how passages are found. The zero Mode is Hybrid.
type Mode string

// The modes, by the names they have on the wire.
const (
	Hybrid   Mode = "hybrid"   // by meaning and by words
	Semantic Mode = "semantic" // by meaning: the nearest dense vectors
	Keyword  Mode = "keyword"  // by words: BM25 over the sparse vectors
)

// How many hits a search returns.
const (
	DefaultLimit = 10
	MaxLimit     = 1000
)

// Query is a search. Which vectors it needs depends on the mode.
type Query struct {
	Mode Mode
	// Dense is the query's embedding, of the space's dimension. Keyword searches do without.
	Dense []float32
	// Sparse is what EncodeQuery gives. Semantic searches do without. A hybrid search without any words in it is a
	// semantic one with fused scores; a keyword search without any finds nothing.
	Sparse Sparse
	// Limit is the most hits to return: DefaultLimit when zero, at most MaxLimit.
	Limit int
	// MinScore leaves out hits that score less, on the scale of the mode. Zero leaves out nothing.
	MinScore float64
	Filter   Filter
}

// Hit is a passage that was found.
type Hit struct {
	ChunkID    uuid.UUID
	DocumentID uuid.UUID
	// Score orders the hits of one search. The package comment tells the scales.
	Score float64
}

// Search finds the tenant's passages that answer the query best, best first.
func (s *Store) Search(ctx context.Context, t tenant.ID, sp Space, q Query) ([]Hit, error) {
	filter, err := within(t, q.Filter)
	if err != nil {
		return nil, err
	}
	name, err := s.collection(sp)
	if err != nil {
		return nil, err
	}
	req, err := q.encode(sp, filter)
	if err != nil || req == nil {
		return nil, err
	}
	req.CollectionName = name
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.client.Points().Query(ctx, req)
	if err != nil {
		return nil, classify(ctx, "search", err)
	}
	hits := make([]Hit, len(resp.GetResult()))
	for i, p := range resp.GetResult() {
		if hits[i], err = decodeHit(p); err != nil {
			return nil, err
		}
	}
	return hits, nil
}

// encode builds the request; nil when the query cannot find anything.
func (q Query) encode(sp Space, filter *qdrant.Filter) (*qdrant.QueryPoints, error) {
	limit := q.Limit
	switch {
	case limit == 0:
		limit = DefaultLimit
	case limit < 0 || limit > MaxLimit:
		return nil, fault.New(fault.Invalid, "vector.limit", "The limit must be between 1 and %d, not %d.", MaxLimit, limit)
	}
	size := uint64(limit)
	req := &qdrant.QueryPoints{
		Filter: filter, Limit: &size, WithPayload: qdrant.NewWithPayloadInclude(fieldChunk, fieldDocument),
	}
	if q.MinScore != 0 {
		req.ScoreThreshold = new(float32(q.MinScore))
	}
	if q.Mode != Keyword {
		if err := sp.accept(q.Dense); err != nil {
			return nil, err
		}
	}
	if q.Mode != Semantic {
		if err := q.Sparse.check(); err != nil {
			return nil, err
		}
	}
	dense, sparse := qdrant.NewQueryDense(q.Dense), qdrant.NewQuerySparse(q.Sparse.Indices, q.Sparse.Values)
	switch q.Mode {
	case Semantic:
		req.Query, req.Using = dense, new(vectorDense)
	case Keyword:
		if q.Sparse.IsEmpty() {
			return nil, nil //nolint:nilnil // no words, no hits
		}
		req.Query, req.Using = sparse, new(vectorSparse)
	case Hybrid, "":
		// Each ranking is asked for more than is wanted in the end: what is low in both can be high in their fusion. The
		// filter stands on every prefetch, not only on the query, whose filter servers apply at their discretion.
		depth := max(4*size, 50)
		req.Query = qdrant.NewQueryFusion(qdrant.Fusion_RRF)
		req.Prefetch = []*qdrant.PrefetchQuery{
			{Query: dense, Using: new(vectorDense), Filter: filter, Limit: &depth},
		}
		if !q.Sparse.IsEmpty() {
			req.Prefetch = append(req.Prefetch,
				&qdrant.PrefetchQuery{Query: sparse, Using: new(vectorSparse), Filter: filter, Limit: &depth})
		}
	default:
		return nil, fault.New(fault.Invalid, "vector.mode", "The search mode must be hybrid, semantic or keyword.")
	}
	return req, nil
}

func decodeHit(p *qdrant.ScoredPoint) (Hit, error) {
	hit := Hit{Score: float64(p.GetScore())}
	var err error
	if hit.ChunkID, err = uuid.Parse(p.GetPayload()[fieldChunk].GetStringValue()); err == nil {
		hit.DocumentID, err = uuid.Parse(p.GetPayload()[fieldDocument].GetStringValue())
	}
	if err != nil {
		return Hit{}, fmt.Errorf("vector: point %s was not stored by this package: %w", p.GetId().GetUuid(), err)
	}
	return hit, nil
}
