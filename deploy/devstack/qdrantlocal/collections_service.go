package qdrantlocal

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// collectionsService answers qdrant.Collections. What it does not override is refused as not implemented.
type collectionsService struct {
	qdrant.UnimplementedCollectionsServer
	s *Server
}

func encode(kind recordKind, m proto.Message) (record, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return record{}, status.Errorf(codes.Internal, "qdrantlocal: encode a change: %v", err)
	}
	return record{kind: kind, body: body}, nil
}

func seconds(since time.Time) float64 { return time.Since(since).Seconds() }

func (v collectionsService) Create(_ context.Context, req *qdrant.CreateCollection) (*qdrant.CollectionOperationResponse, error) {
	start := time.Now()
	c, err := newCollection(req)
	if err != nil {
		return nil, err
	}
	rec, err := encode(recordCreate, req)
	if err != nil {
		return nil, err
	}
	err = v.s.commit(func() (change, error) {
		if _, err := v.s.collection(c.name); err == nil {
			return change{}, errCollectionExists(c.name)
		}
		return change{record: rec, apply: func() { v.s.put(c) }}, nil
	})
	if err != nil {
		return nil, err
	}
	return &qdrant.CollectionOperationResponse{Result: true, Time: seconds(start)}, nil
}

func (v collectionsService) Delete(_ context.Context, req *qdrant.DeleteCollection) (*qdrant.CollectionOperationResponse, error) {
	start := time.Now()
	rec, err := encode(recordDrop, req)
	if err != nil {
		return nil, err
	}
	existed := false
	err = v.s.commit(func() (change, error) {
		if _, err := v.s.collection(req.GetCollectionName()); err != nil {
			return change{}, nil //nolint:nilerr // nothing to drop is an answer, not an error
		}
		existed = true
		return change{record: rec, apply: func() { v.s.drop(req.GetCollectionName()) }}, nil
	})
	if err != nil {
		return nil, err
	}
	return &qdrant.CollectionOperationResponse{Result: existed, Time: seconds(start)}, nil
}

func (v collectionsService) CollectionExists(
	_ context.Context, req *qdrant.CollectionExistsRequest,
) (*qdrant.CollectionExistsResponse, error) {
	start := time.Now()
	_, err := v.s.collection(req.GetCollectionName())
	if err != nil && status.Code(err) != codes.NotFound {
		return nil, err
	}
	return &qdrant.CollectionExistsResponse{Result: &qdrant.CollectionExists{Exists: err == nil}, Time: seconds(start)}, nil
}

func (v collectionsService) List(context.Context, *qdrant.ListCollectionsRequest) (*qdrant.ListCollectionsResponse, error) {
	start := time.Now()
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	if v.s.closed {
		return nil, errClosed()
	}
	out := make([]*qdrant.CollectionDescription, 0, len(v.s.collections))
	for name := range v.s.collections {
		out = append(out, &qdrant.CollectionDescription{Name: name})
	}
	slices.SortFunc(out, func(a, b *qdrant.CollectionDescription) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return &qdrant.ListCollectionsResponse{Collections: out, Time: seconds(start)}, nil
}

func (v collectionsService) Get(_ context.Context, req *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	start := time.Now()
	c, err := v.s.collection(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	return &qdrant.GetCollectionInfoResponse{Result: c.info(), Time: seconds(start)}, nil
}

// info describes the collection. Everything about segments and graphs is as if there were one exact segment.
func (c *collection) info() *qdrant.CollectionInfo {
	c.mu.RLock()
	defer c.mu.RUnlock()
	schema := make(map[string]*qdrant.PayloadSchemaInfo, len(c.indexes))
	for name, index := range c.indexes {
		schema[name] = &qdrant.PayloadSchemaInfo{
			DataType: index.schema,
			Params:   index.request.GetFieldIndexParams(),
			Points:   new(index.points()),
		}
	}
	config := c.config
	return &qdrant.CollectionInfo{
		Status:          qdrant.CollectionStatus_Green,
		OptimizerStatus: &qdrant.OptimizerStatus{Ok: true},
		SegmentsCount:   1,
		Config: &qdrant.CollectionConfig{
			Params: &qdrant.CollectionParams{
				ShardNumber:            max(1, config.GetShardNumber()),
				OnDiskPayload:          config.GetOnDiskPayload(),
				VectorsConfig:          config.GetVectorsConfig(),
				ReplicationFactor:      config.ReplicationFactor,
				WriteConsistencyFactor: config.WriteConsistencyFactor,
				ShardingMethod:         config.ShardingMethod,
				SparseVectorsConfig:    config.GetSparseVectorsConfig(),
			},
			HnswConfig:         config.GetHnswConfig(),
			OptimizerConfig:    config.GetOptimizersConfig(),
			WalConfig:          config.GetWalConfig(),
			QuantizationConfig: config.GetQuantizationConfig(),
			Metadata:           config.GetMetadata(),
		},
		PayloadSchema:       schema,
		PointsCount:         new(uint64(len(c.byID))),
		IndexedVectorsCount: new(uint64(0)),
	}
}

// points returns how many points have an indexed value, counting one twice that has two.
func (x *fieldIndex) points() uint64 {
	n := 0
	for _, list := range x.slots {
		n += len(list)
	}
	return uint64(n)
}
