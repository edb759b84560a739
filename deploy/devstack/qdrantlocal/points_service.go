package qdrantlocal

import (
	"context"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"
)

// pointsService answers qdrant.Points. What it does not override is refused as not implemented.
type pointsService struct {
	qdrant.UnimplementedPointsServer
	s *Server
}

// updated is the answer to a change. Changes are always done when they are answered, asked to wait or not.
func updated(start time.Time, wait bool) *qdrant.PointsOperationResponse {
	result := &qdrant.UpdateResult{Status: qdrant.UpdateStatus_Acknowledged}
	if wait {
		result.Status = qdrant.UpdateStatus_Completed
	}
	return &qdrant.PointsOperationResponse{Result: result, Time: seconds(start)}
}

func (v pointsService) Upsert(_ context.Context, req *qdrant.UpsertPoints) (*qdrant.PointsOperationResponse, error) {
	start := time.Now()
	switch {
	case req.GetShardKeySelector() != nil:
		return nil, errLacks("shard keys")
	case req.GetUpdateMode() != qdrant.UpdateMode_Upsert:
		return nil, errLacks("the update mode " + req.GetUpdateMode().String())
	}
	c, err := v.s.collection(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	points, err := c.prepare(req.GetPoints())
	if err != nil {
		return nil, err
	}
	if _, err := c.filter(req.GetUpdateFilter(), false); err != nil {
		return nil, err
	}
	whole, err := encode(recordUpsert, &qdrant.UpsertPoints{CollectionName: c.name, Points: req.GetPoints()})
	if err != nil {
		return nil, err
	}
	err = v.s.commit(func() (change, error) {
		if err := v.s.checkCurrent(c); err != nil || len(points) == 0 {
			return change{}, err
		}
		rec, accepted := whole, points
		if req.GetUpdateFilter() != nil {
			var raw []*qdrant.PointStruct
			if accepted, raw, err = c.updatable(points, req); err != nil || len(accepted) == 0 {
				return change{}, err
			}
			if len(accepted) < len(points) {
				if rec, err = encode(recordUpsert, &qdrant.UpsertPoints{CollectionName: c.name, Points: raw}); err != nil {
					return change{}, err
				}
			}
		}
		return change{record: rec, apply: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.upsert(accepted)
		}}, nil
	})
	if err != nil {
		return nil, err
	}
	return updated(start, req.GetWait()), nil
}

// updatable leaves out the points that exist and that the update filter does not match; new ones always pass. The caller
// holds the server's write lock, so nothing changes meanwhile.
func (c *collection) updatable(points []*prepared, req *qdrant.UpsertPoints) ([]*prepared, []*qdrant.PointStruct, error) {
	match, err := c.filter(req.GetUpdateFilter(), false)
	if err != nil {
		return nil, nil, err
	}
	accepted := make([]*prepared, 0, len(points))
	raw := make([]*qdrant.PointStruct, 0, len(points))
	for i, p := range points {
		if old, exists := c.byID[p.id]; exists && !match(old, old.payload) {
			continue
		}
		accepted, raw = append(accepted, p), append(raw, req.GetPoints()[i])
	}
	return accepted, raw, nil
}

// targets resolves a selector to ids of points that exist. The caller holds the server's write lock.
func (c *collection) targets(sel *qdrant.PointsSelector) ([]pointID, error) {
	switch v := sel.GetPointsSelectorOneOf().(type) {
	case *qdrant.PointsSelector_Points:
		ids, err := parsePointIDs(v.Points.GetIds())
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(ids, func(id pointID) bool { return c.byID[id] == nil }), nil
	case *qdrant.PointsSelector_Filter:
		where, err := c.selectPoints(v.Filter)
		if err != nil {
			return nil, err
		}
		var ids []pointID
		where.each(c, func(p *point) bool {
			ids = append(ids, p.id)
			return true
		})
		return ids, nil
	default:
		return nil, errInput("PointsSelector is missing")
	}
}

func idList(ids []pointID) *qdrant.PointsSelector {
	out := make([]*qdrant.PointId, len(ids))
	for i, id := range ids {
		out[i] = id.proto()
	}
	return qdrant.NewPointsSelectorIDs(out)
}

func (v pointsService) Delete(_ context.Context, req *qdrant.DeletePoints) (*qdrant.PointsOperationResponse, error) {
	start := time.Now()
	if req.GetShardKeySelector() != nil {
		return nil, errLacks("shard keys")
	}
	err := v.s.commit(func() (change, error) {
		c, err := v.s.collection(req.GetCollectionName())
		if err != nil {
			return change{}, err
		}
		ids, err := c.targets(req.GetPoints())
		if err != nil || len(ids) == 0 {
			return change{}, err
		}
		rec, err := encode(recordDelete, &qdrant.DeletePoints{CollectionName: c.name, Points: idList(ids)})
		return change{record: rec, apply: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.remove(ids)
		}}, err
	})
	if err != nil {
		return nil, err
	}
	return updated(start, req.GetWait()), nil
}

func (v pointsService) SetPayload(_ context.Context, req *qdrant.SetPayloadPoints) (*qdrant.PointsOperationResponse, error) {
	return v.setPayload(req, false)
}

func (v pointsService) OverwritePayload(_ context.Context, req *qdrant.SetPayloadPoints) (*qdrant.PointsOperationResponse, error) {
	return v.setPayload(req, true)
}

func (v pointsService) setPayload(req *qdrant.SetPayloadPoints, replace bool) (*qdrant.PointsOperationResponse, error) {
	start := time.Now()
	switch {
	case req.GetShardKeySelector() != nil:
		return nil, errLacks("shard keys")
	case req.Key != nil:
		return nil, errLacks("setting a payload below a key")
	}
	kind := recordSetPayload
	if replace {
		kind = recordOverwritePayload
	}
	err := v.s.commit(func() (change, error) {
		c, err := v.s.collection(req.GetCollectionName())
		if err != nil {
			return change{}, err
		}
		ids, err := c.targets(req.GetPointsSelector())
		if err != nil || len(ids) == 0 {
			return change{}, err
		}
		rec, err := encode(kind, &qdrant.SetPayloadPoints{
			CollectionName: c.name, Payload: req.GetPayload(), PointsSelector: idList(ids),
		})
		return change{record: rec, apply: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.setPayload(ids, req.GetPayload(), replace)
		}}, err
	})
	if err != nil {
		return nil, err
	}
	return updated(start, req.GetWait()), nil
}

func (v pointsService) CreateFieldIndex(
	_ context.Context, req *qdrant.CreateFieldIndexCollection,
) (*qdrant.PointsOperationResponse, error) {
	start := time.Now()
	index, err := newFieldIndex(req)
	if err != nil {
		return nil, err
	}
	rec, err := encode(recordIndex, req)
	if err != nil {
		return nil, err
	}
	err = v.s.commit(func() (change, error) {
		c, err := v.s.collection(req.GetCollectionName())
		if err != nil {
			return change{}, err
		}
		if old, ok := c.indexes[req.GetFieldName()]; ok && sameIndex(old.request, req) {
			return change{}, nil
		}
		return change{record: rec, apply: func() { c.addIndex(index) }}, nil
	})
	if err != nil {
		return nil, err
	}
	return updated(start, req.GetWait()), nil
}

func sameIndex(a, b *qdrant.CreateFieldIndexCollection) bool {
	return a.GetFieldType() == b.GetFieldType() && proto.Equal(a.GetFieldIndexParams(), b.GetFieldIndexParams())
}

// addIndex fills an index and puts it to use, in place of an older one of that field.
func (c *collection) addIndex(index *fieldIndex) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.bySlot {
		if p != nil {
			index.add(p)
		}
	}
	c.indexes[index.request.GetFieldName()] = index
}

func (v pointsService) DeleteFieldIndex(
	_ context.Context, req *qdrant.DeleteFieldIndexCollection,
) (*qdrant.PointsOperationResponse, error) {
	start := time.Now()
	rec, err := encode(recordUnindex, req)
	if err != nil {
		return nil, err
	}
	err = v.s.commit(func() (change, error) {
		c, err := v.s.collection(req.GetCollectionName())
		if err != nil || c.indexes[req.GetFieldName()] == nil {
			return change{}, err
		}
		return change{record: rec, apply: func() { c.removeIndex(req.GetFieldName()) }}, nil
	})
	if err != nil {
		return nil, err
	}
	return updated(start, req.GetWait()), nil
}

func (c *collection) removeIndex(field string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.indexes, field)
}
