package qdrantlocal

import (
	"context"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/status"
)

// shape is what of a point an answer carries.
type shape struct {
	payload projection
	// vectors lists the names wanted; every one of them when all is set.
	vectors []string
	all     bool
}

func newShape(p *qdrant.WithPayloadSelector, v *qdrant.WithVectorsSelector, payloadUnlessTold bool) (shape, error) {
	proj, err := newProjection(p, payloadUnlessTold)
	if err != nil {
		return shape{}, err
	}
	out := shape{payload: proj}
	switch v := v.GetSelectorOptions().(type) {
	case *qdrant.WithVectorsSelector_Enable:
		out.all = v.Enable
	case *qdrant.WithVectorsSelector_Include:
		out.vectors = v.Include.GetNames()
	}
	return out, nil
}

func (sh shape) retrieved(c *collection, p *point) *qdrant.RetrievedPoint {
	return &qdrant.RetrievedPoint{Id: p.id.proto(), Payload: sh.payload.of(p.payload), Vectors: sh.output(c, p)}
}

// output copies the wanted vectors out of the collection, whose memory may be reused once mu is given up.
func (sh shape) output(c *collection, p *point) *qdrant.VectorsOutput {
	if !sh.all && len(sh.vectors) == 0 {
		return nil
	}
	named := make(map[string]*qdrant.VectorOutput)
	for name, f := range c.dense {
		if f.present(p.slot) && sh.wants(name) {
			named[name] = &qdrant.VectorOutput{
				Vector: &qdrant.VectorOutput_Dense{Dense: &qdrant.DenseVector{Data: slices.Clone(f.at(p.slot))}},
			}
		}
	}
	for name, f := range c.sparse {
		if f.present(p.slot) && sh.wants(name) {
			v := f.vectors[p.slot]
			named[name] = &qdrant.VectorOutput{
				Vector: &qdrant.VectorOutput_Sparse{Sparse: &qdrant.SparseVector{Indices: v.indices, Values: v.values}},
			}
		}
	}
	if one, ok := named[""]; ok && len(named) == 1 {
		return &qdrant.VectorsOutput{VectorsOptions: &qdrant.VectorsOutput_Vector{Vector: one}}
	}
	return &qdrant.VectorsOutput{
		VectorsOptions: &qdrant.VectorsOutput_Vectors{Vectors: &qdrant.NamedVectorsOutput{Vectors: named}},
	}
}

func (sh shape) wants(name string) bool { return sh.all || slices.Contains(sh.vectors, name) }

func (v pointsService) Query(ctx context.Context, req *qdrant.QueryPoints) (*qdrant.QueryResponse, error) {
	start := time.Now()
	c, err := v.s.collection(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	found, err := c.query(ctx, req)
	if err != nil {
		return nil, err
	}
	return &qdrant.QueryResponse{Result: found, Time: seconds(start)}, nil
}

func (v pointsService) QueryBatch(ctx context.Context, req *qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error) {
	start := time.Now()
	c, err := v.s.collection(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	out := make([]*qdrant.BatchResult, len(req.GetQueryPoints()))
	for i, q := range req.GetQueryPoints() {
		found, err := c.query(ctx, q)
		if err != nil {
			return nil, err
		}
		out[i] = &qdrant.BatchResult{Result: found}
	}
	return &qdrant.QueryBatchResponse{Result: out, Time: seconds(start)}, nil
}

func (c *collection) query(ctx context.Context, req *qdrant.QueryPoints) ([]*qdrant.ScoredPoint, error) {
	root, err := rootStage(req)
	if err != nil {
		return nil, err
	}
	sh, err := newShape(req.GetWithPayload(), req.GetWithVectors(), false)
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	found, err := c.run(ctx, root, 0)
	if err != nil {
		return nil, err
	}
	found = found[min(uint64(len(found)), req.GetOffset()):]
	out := make([]*qdrant.ScoredPoint, len(found))
	for i, f := range found {
		out[i] = &qdrant.ScoredPoint{
			Id: f.point.id.proto(), Payload: sh.payload.of(f.point.payload), Score: f.score, Version: f.point.version,
			Vectors: sh.output(c, f.point),
		}
	}
	return out, nil
}

func (v pointsService) Get(_ context.Context, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
	start := time.Now()
	c, err := v.s.collection(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	sh, err := newShape(req.GetWithPayload(), req.GetWithVectors(), false)
	if err != nil {
		return nil, err
	}
	ids, err := parsePointIDs(req.GetIds())
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*qdrant.RetrievedPoint, 0, len(ids))
	for _, id := range ids {
		if p, ok := c.byID[id]; ok {
			out = append(out, sh.retrieved(c, p))
		}
	}
	return &qdrant.GetResponse{Result: out, Time: seconds(start)}, nil
}

func (v pointsService) Scroll(ctx context.Context, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
	start := time.Now()
	if req.GetOrderBy() != nil {
		return nil, errLacks("scrolling by a payload field")
	}
	c, err := v.s.collection(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	sh, err := newShape(req.GetWithPayload(), req.GetWithVectors(), true)
	if err != nil {
		return nil, err
	}
	var from *pointID
	if req.GetOffset() != nil {
		id, err := parsePointID(req.GetOffset())
		if err != nil {
			return nil, err
		}
		from = &id
	}
	limit := defaultLimit
	if req.Limit != nil {
		limit = int(req.GetLimit())
	}
	if limit < 1 {
		return nil, errInput("limit must be at least 1")
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	where, err := c.selectPoints(req.GetFilter())
	if err != nil {
		return nil, err
	}
	// One more than asked for tells whether there is a next page, and where it starts.
	page := newTop(limit+1, byID)
	where.each(c, func(p *point) bool {
		if from == nil || p.id.compare(*from) >= 0 {
			page.offer(scored{point: p})
		}
		return true
	})
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	found := page.sorted()
	out := &qdrant.ScrollResponse{}
	if len(found) > limit {
		out.NextPageOffset = found[limit].point.id.proto()
		found = found[:limit]
	}
	for _, f := range found {
		out.Result = append(out.Result, sh.retrieved(c, f.point))
	}
	out.Time = seconds(start)
	return out, nil
}

func (v pointsService) Count(_ context.Context, req *qdrant.CountPoints) (*qdrant.CountResponse, error) {
	start := time.Now()
	c, err := v.s.collection(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	where, err := c.selectPoints(req.GetFilter())
	if err != nil {
		return nil, err
	}
	count := uint64(0)
	where.each(c, func(*point) bool {
		count++
		return true
	})
	return &qdrant.CountResponse{Result: &qdrant.CountResult{Count: count}, Time: seconds(start)}, nil
}
