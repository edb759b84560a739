package qdrantlocal

import (
	"context"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/status"
)

const (
	defaultLimit = 10
	// maxDepth bounds prefetches within prefetches.
	maxDepth = 16
	// checkEvery is how many points a scan looks at between two looks at the context.
	checkEvery = 1024
)

// stage is a query or a prefetch, which differ only in their messages.
type stage struct {
	prefetch  []*qdrant.PrefetchQuery
	query     *qdrant.Query
	using     string
	filters   []*qdrant.Filter
	threshold *float32
	limit     int
}

func limitOf(limit *uint64) int {
	if limit == nil {
		return defaultLimit
	}
	return int(min(*limit, 1<<30))
}

func rootStage(q *qdrant.QueryPoints) (stage, error) {
	if q.GetLookupFrom() != nil {
		return stage{}, errLacks("lookup_from")
	}
	if q.GetShardKeySelector() != nil {
		return stage{}, errLacks("shard keys")
	}
	offset := int(min(q.GetOffset(), 1<<30))
	return stage{
		prefetch: q.GetPrefetch(), query: q.GetQuery(), using: q.GetUsing(), filters: []*qdrant.Filter{q.GetFilter()},
		threshold: q.ScoreThreshold, limit: limitOf(q.Limit) + offset,
	}, nil
}

// under makes the stage of a prefetch, which inherits the filters above it.
func (s stage) under(q *qdrant.PrefetchQuery) (stage, error) {
	if q.GetLookupFrom() != nil {
		return stage{}, errLacks("lookup_from")
	}
	filters := append([]*qdrant.Filter{q.GetFilter()}, s.filters...)
	return stage{
		prefetch: q.GetPrefetch(), query: q.GetQuery(), using: q.GetUsing(), filters: filters,
		threshold: q.ScoreThreshold, limit: limitOf(q.Limit),
	}, nil
}

// run answers a stage: the best first, at most limit. The caller holds mu.
func (c *collection) run(ctx context.Context, s stage, depth int) ([]scored, error) {
	if depth > maxDepth {
		return nil, errInput("prefetches are nested more than %d deep", maxDepth)
	}
	if len(s.prefetch) == 0 {
		return c.leaf(ctx, s)
	}
	sources := make([][]scored, len(s.prefetch))
	for i, q := range s.prefetch {
		inner, err := s.under(q)
		if err != nil {
			return nil, err
		}
		if sources[i], err = c.run(ctx, inner, depth+1); err != nil {
			return nil, err
		}
	}
	merged, err := c.merge(ctx, s, sources)
	if err != nil {
		return nil, err
	}
	return aboveThreshold(merged, s.threshold, s.limit), nil
}

// merge combines the answers of prefetches as the stage's query says.
func (c *collection) merge(ctx context.Context, s stage, sources [][]scored) ([]scored, error) {
	switch v := s.query.GetVariant().(type) {
	case nil:
		return nil, errInput("cannot have prefetches without a query")
	case *qdrant.Query_Fusion:
		if v.Fusion != qdrant.Fusion_RRF {
			return nil, errLacks("fusion by " + v.Fusion.String())
		}
		return fuse(sources, defaultRRFK, nil), nil
	case *qdrant.Query_Rrf:
		k := uint32(defaultRRFK)
		if v.Rrf.K != nil {
			k = v.Rrf.GetK()
		}
		weights := v.Rrf.GetWeights()
		switch {
		case k < 1:
			return nil, errInput("RRF k must be at least 1")
		case len(weights) == 0:
			weights = nil
		case len(weights) != len(sources):
			return nil, errInput("Number of weights in RRF should match number of pre-fetches: got %d, expected %d",
				len(weights), len(sources))
		}
		return fuse(sources, k, weights), nil
	case *qdrant.Query_Nearest:
		// Score again, among the points that the prefetches found.
		score, err := c.scorer(v.Nearest, s.using)
		if err != nil {
			return nil, err
		}
		best := newTop(s.limit, byScore)
		seen := make(map[pointID]bool)
		for _, source := range sources {
			for _, found := range source {
				if seen[found.point.id] {
					continue
				}
				seen[found.point.id] = true
				if x, ok := score(found.point); ok {
					best.offer(scored{found.point, x})
				}
			}
		}
		return best.sorted(), ctx.Err()
	default:
		return nil, errLacks(queryName(s.query))
	}
}

// leaf searches the points themselves.
func (c *collection) leaf(ctx context.Context, s stage) ([]scored, error) {
	where, err := c.selectPoints(s.filters...)
	if err != nil {
		return nil, err
	}
	score := func(*point) (float32, bool) { return 0, true }
	order := byID
	switch v := s.query.GetVariant().(type) {
	case nil:
	case *qdrant.Query_Nearest:
		if score, err = c.scorer(v.Nearest, s.using); err != nil {
			return nil, err
		}
		order = byScore
	case *qdrant.Query_Fusion, *qdrant.Query_Rrf:
		return nil, errInput("a fusion query needs prefetches")
	default:
		return nil, errLacks(queryName(s.query))
	}
	best := newTop(s.limit, order)
	seen := 0
	where.each(c, func(p *point) bool {
		if x, ok := score(p); ok {
			best.offer(scored{p, x})
		}
		seen++
		return seen%checkEvery != 0 || ctx.Err() == nil
	})
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	found := best.sorted()
	if s.query == nil {
		return found, nil
	}
	return aboveThreshold(found, s.threshold, s.limit), nil
}

// aboveThreshold cuts a sorted ranking at the first score below the threshold, and at the limit.
func aboveThreshold(found []scored, threshold *float32, limit int) []scored {
	found = found[:min(len(found), limit)]
	if threshold == nil {
		return found
	}
	for i, s := range found {
		if s.score < *threshold {
			return found[:i]
		}
	}
	return found
}

// scorer returns the function that scores a point against a vector; it reports false for a point that is no result.
func (c *collection) scorer(in *qdrant.VectorInput, using string) (func(*point) (float32, bool), error) {
	dense, isDense := c.dense[using]
	sparse, isSparse := c.sparse[using]
	if !isDense && !isSparse {
		return nil, errNoVector(using)
	}
	switch v := in.GetVariant().(type) {
	case *qdrant.VectorInput_Dense:
		if !isDense {
			return nil, errInput("a dense query was given for the sparse vector %q", using)
		}
		return dense.scorer(v.Dense.GetData(), nil)
	case *qdrant.VectorInput_Sparse:
		if !isSparse {
			return nil, errInput("a sparse query was given for the dense vector %q", using)
		}
		query, err := newSparseVector(v.Sparse.GetIndices(), v.Sparse.GetValues())
		if err != nil {
			return nil, err
		}
		return sparse.scorer(query, nil), nil
	case *qdrant.VectorInput_Id:
		id, err := parsePointID(v.Id)
		if err != nil {
			return nil, err
		}
		p, ok := c.byID[id]
		if !ok || !c.hasVector(using, p.slot) {
			return nil, errInput("no point %s with the vector %q", v.Id.String(), using)
		}
		if isDense {
			return dense.scorer(dense.at(p.slot), p)
		}
		return sparse.scorer(sparse.vectors[p.slot], p), nil
	case *qdrant.VectorInput_MultiDense:
		return nil, errLacks("multivectors")
	case nil:
		return nil, errInput("malformed nearest query: no vector")
	default:
		return nil, errLacks("inference on the server")
	}
}

// scorer scores by the field's distance. A point is never compared with itself.
func (d *denseField) scorer(vector []float32, self *point) (func(*point) (float32, bool), error) {
	query, err := d.accept(vector)
	if err != nil {
		return nil, err
	}
	return func(p *point) (float32, bool) {
		if p == self || !d.present(p.slot) {
			return 0, false
		}
		return dot(query, d.at(p.slot)), true
	}, nil
}

func (f *sparseField) scorer(vector sparseVector, self *point) func(*point) (float32, bool) {
	query := f.weighted(vector)
	return func(p *point) (float32, bool) {
		if p == self || !f.present(p.slot) {
			return 0, false
		}
		return f.vectors[p.slot].dot(query)
	}
}

// queryName names a query that is not supported.
func queryName(q *qdrant.Query) string {
	switch q.GetVariant().(type) {
	case *qdrant.Query_Recommend:
		return "recommend queries"
	case *qdrant.Query_Discover:
		return "discover queries"
	case *qdrant.Query_Context:
		return "context queries"
	case *qdrant.Query_OrderBy:
		return "order_by queries"
	case *qdrant.Query_Sample:
		return "sample queries"
	case *qdrant.Query_Formula:
		return "formula queries"
	case *qdrant.Query_NearestWithMmr:
		return "maximal marginal relevance"
	case *qdrant.Query_RelevanceFeedback:
		return "relevance feedback queries"
	default:
		return "this kind of query"
	}
}
