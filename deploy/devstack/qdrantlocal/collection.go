package qdrantlocal

import (
	"maps"
	"sync"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"
)

// payload is a point's payload. It is never changed in place, so that answers can carry it after the lock is given up.
type payload = map[string]*qdrant.Value

// point is a stored point. Its vectors lie in the fields, under its slot.
type point struct {
	id      pointID
	slot    uint32
	payload payload
	version uint64
	// bytes is roughly what the point takes in the log.
	bytes int64
}

// collection is one collection in memory. The config never changes; everything below mu is guarded by it. Changes come
// one at a time, under the server's write lock.
type collection struct {
	name   string
	config *qdrant.CreateCollection

	mu      sync.RWMutex
	dense   map[string]*denseField
	sparse  map[string]*sparseField
	indexes map[string]*fieldIndex
	bySlot  []*point // nil where a slot is free
	byID    map[pointID]*point
	free    []uint32
	version uint64
	bytes   int64
}

// newCollection builds an empty collection, or says what about its configuration is wrong or not supported.
func newCollection(config *qdrant.CreateCollection) (*collection, error) {
	c := &collection{
		name:    config.GetCollectionName(),
		config:  config,
		dense:   make(map[string]*denseField),
		sparse:  make(map[string]*sparseField),
		indexes: make(map[string]*fieldIndex),
		byID:    make(map[pointID]*point),
		bytes:   int64(proto.Size(config)),
	}
	switch {
	case c.name == "" || len(c.name) > 255:
		return nil, errInput("collection name must have between 1 and 255 characters")
	case config.GetShardingMethod() == qdrant.ShardingMethod_Custom:
		return nil, errLacks("custom sharding")
	case config.GetStrictModeConfig().GetEnabled():
		return nil, errLacks("strict mode")
	}
	if one := config.GetVectorsConfig().GetParams(); one != nil {
		if err := c.addDense("", one); err != nil {
			return nil, err
		}
	}
	for name, params := range config.GetVectorsConfig().GetParamsMap().GetMap() {
		if err := c.addDense(name, params); err != nil {
			return nil, err
		}
	}
	for name, params := range config.GetSparseVectorsConfig().GetMap() {
		if _, taken := c.dense[name]; taken {
			return nil, errInput("vector name %q is both dense and sparse", name)
		}
		c.sparse[name] = &sparseField{idf: params.GetModifier() == qdrant.Modifier_Idf, df: make(map[uint32]int)}
	}
	return c, nil
}

func (c *collection) addDense(name string, params *qdrant.VectorParams) error {
	if params.GetSize() < 1 || params.GetSize() > 65536 {
		return errInput("vector size must be between 1 and 65536, got %d", params.GetSize())
	}
	if params.GetMultivectorConfig() != nil {
		return errLacks("multivectors")
	}
	if t := params.GetDatatype(); t != qdrant.Datatype_Default && t != qdrant.Datatype_Float32 {
		return errLacks("vectors of type " + t.String())
	}
	field := &denseField{dim: int(params.GetSize())}
	switch params.GetDistance() {
	case qdrant.Distance_Cosine:
		field.cosine = true
	case qdrant.Distance_Dot:
	case qdrant.Distance_UnknownDistance:
		return errInput("vector %q has no distance", name)
	default:
		return errLacks("the distance " + params.GetDistance().String())
	}
	c.dense[name] = field
	return nil
}

// hasVector reports whether a point has a vector of that name.
func (c *collection) hasVector(name string, slot uint32) bool {
	if f, ok := c.dense[name]; ok {
		return f.present(slot)
	}
	f, ok := c.sparse[name]
	return ok && f.present(slot)
}

// upsert stores prepared points. The caller holds mu.
func (c *collection) upsert(points []*prepared) {
	c.version++
	for _, p := range points {
		old, exists := c.byID[p.id]
		if exists {
			c.forget(old)
		}
		stored := &point{id: p.id, payload: p.payload, version: c.version, bytes: p.bytes}
		if exists {
			stored.slot = old.slot
		} else {
			stored.slot = c.slot()
		}
		c.bySlot[stored.slot] = stored
		c.byID[p.id] = stored
		c.bytes += stored.bytes
		for name, v := range p.dense {
			c.dense[name].set(stored.slot, v)
		}
		for name, v := range p.sparse {
			c.sparse[name].set(stored.slot, v)
		}
		for _, index := range c.indexes {
			index.add(stored)
		}
	}
}

func (c *collection) slot() uint32 {
	if n := len(c.free); n > 0 {
		slot := c.free[n-1]
		c.free = c.free[:n-1]
		return slot
	}
	c.bySlot = append(c.bySlot, nil)
	return uint32(len(c.bySlot) - 1)
}

// forget takes a point out of every structure but its slot.
func (c *collection) forget(p *point) {
	for _, index := range c.indexes {
		index.remove(p)
	}
	for _, f := range c.dense {
		f.clear(p.slot)
	}
	for _, f := range c.sparse {
		f.clear(p.slot)
	}
	c.bytes -= p.bytes
}

// remove deletes points; unknown ids are passed over. The caller holds mu.
func (c *collection) remove(ids []pointID) {
	c.version++
	for _, id := range ids {
		p, ok := c.byID[id]
		if !ok {
			continue
		}
		c.forget(p)
		delete(c.byID, id)
		c.bySlot[p.slot] = nil
		c.free = append(c.free, p.slot)
	}
}

// setPayload merges values into the payloads of points, or replaces the payloads. The caller holds mu.
func (c *collection) setPayload(ids []pointID, values payload, replace bool) {
	c.version++
	for _, id := range ids {
		p, ok := c.byID[id]
		if !ok {
			continue
		}
		merged := make(payload, len(p.payload)+len(values))
		if !replace {
			maps.Copy(merged, p.payload)
		}
		maps.Copy(merged, values)
		next := *p
		next.payload, next.version = merged, c.version
		next.bytes += payloadSize(merged) - payloadSize(p.payload)
		for _, index := range c.indexes {
			index.remove(p)
			index.add(&next)
		}
		c.bytes += next.bytes - p.bytes
		c.bySlot[next.slot], c.byID[id] = &next, &next
	}
}

func payloadSize(p payload) int64 {
	return int64(proto.Size(&qdrant.PointStruct{Payload: p}))
}

// prepared is a point of an upsert after all checks, ready to be stored.
type prepared struct {
	id      pointID
	payload payload
	dense   map[string][]float32
	sparse  map[string]sparseVector
	bytes   int64
}

// prepare checks points against the collection's configuration. It needs no lock.
func (c *collection) prepare(points []*qdrant.PointStruct) ([]*prepared, error) {
	out := make([]*prepared, 0, len(points))
	for _, p := range points {
		id, err := parsePointID(p.GetId())
		if err != nil {
			return nil, err
		}
		prep := &prepared{
			id:      id,
			payload: p.GetPayload(),
			dense:   make(map[string][]float32, len(c.dense)),
			sparse:  make(map[string]sparseVector, len(c.sparse)),
			bytes:   frameHeader + int64(proto.Size(p)),
		}
		switch v := p.GetVectors().GetVectorsOptions().(type) {
		case nil:
		case *qdrant.Vectors_Vector:
			err = c.prepareVector(prep, "", v.Vector)
		case *qdrant.Vectors_Vectors:
			for name, vector := range v.Vectors.GetVectors() {
				if err = c.prepareVector(prep, name, vector); err != nil {
					break
				}
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, prep)
	}
	return out, nil
}

func (c *collection) prepareVector(prep *prepared, name string, vector *qdrant.Vector) error {
	if field, ok := c.dense[name]; ok {
		data, err := denseData(vector)
		if err != nil {
			return err
		}
		prep.dense[name], err = field.accept(data)
		return err
	}
	if _, ok := c.sparse[name]; ok {
		indices, values, err := sparseData(vector)
		if err != nil {
			return err
		}
		prep.sparse[name], err = newSparseVector(indices, values)
		return err
	}
	return errNoVector(name)
}

// accept checks a dense vector and returns it as it is compared.
func (d *denseField) accept(data []float32) ([]float32, error) {
	if len(data) != d.dim {
		return nil, errDimension(d.dim, len(data))
	}
	if err := checkFinite(data); err != nil {
		return nil, err
	}
	if d.cosine {
		return normalized(data), nil
	}
	return data, nil
}

// denseData reads both forms of a dense vector: older clients fill the deprecated fields.
func denseData(v *qdrant.Vector) ([]float32, error) {
	switch v := v.GetVector().(type) {
	case *qdrant.Vector_Dense:
		return v.Dense.GetData(), nil
	case nil:
	case *qdrant.Vector_MultiDense:
		return nil, errLacks("multivectors")
	case *qdrant.Vector_Sparse:
		return nil, errInput("a sparse vector was given for a dense one")
	default:
		return nil, errLacks("inference on the server")
	}
	//nolint:staticcheck // deprecated, and still sent
	if v.GetIndices() != nil {
		return nil, errInput("a sparse vector was given for a dense one")
	}
	return v.GetData(), nil //nolint:staticcheck // deprecated, and still sent
}

func sparseData(v *qdrant.Vector) (indices []uint32, values []float32, err error) {
	switch v := v.GetVector().(type) {
	case *qdrant.Vector_Sparse:
		return v.Sparse.GetIndices(), v.Sparse.GetValues(), nil
	case nil:
	case *qdrant.Vector_Dense, *qdrant.Vector_MultiDense:
		return nil, nil, errInput("a dense vector was given for a sparse one")
	default:
		return nil, nil, errLacks("inference on the server")
	}
	//nolint:staticcheck // deprecated, and still sent
	if v.GetIndices() == nil {
		return nil, nil, errInput("a dense vector was given for a sparse one")
	}
	return v.GetIndices().GetData(), v.GetData(), nil //nolint:staticcheck // deprecated, and still sent
}
