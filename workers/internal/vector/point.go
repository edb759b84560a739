package vector

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// batchBytes is about how large one upsert gets. Servers take messages of a few megabytes.
const batchBytes = 2 << 20

// Point is a passage: where it comes from, who may see it, and its vectors.
type Point struct {
	// ID is what PointID gives. A point with the same id is replaced.
	ID         uuid.UUID
	DocumentID uuid.UUID
	ChunkID    uuid.UUID
	// ProjectID is nil for a document that belongs to the whole tenant.
	ProjectID *uuid.UUID
	// Public makes the passage visible to the whole tenant although it belongs to a project.
	Public       bool
	DocumentType string
	Tags         []string
	// Dense is the embedding, of the space's dimension. It need not be normalized.
	Dense []float32
	// Sparse is what EncodeDocument gives. It may be empty; then a keyword search never finds the point.
	Sparse Sparse
}

// PointID names the point of a document's chunk, counting from zero. It is a UUIDv5 of its arguments: storing a document
// twice stores every chunk once.
func PointID(t tenant.ID, document uuid.UUID, chunk int) uuid.UUID {
	// Another namespace would give other ids, and every stored point would be left behind.
	namespace := uuid.UUID{0x6c, 0x7b, 0x0b, 0x6e, 0x3d, 0x0e, 0x5a, 0x55, 0x9d, 0x0c, 0x6f, 0x2f, 0x5f, 0x3a, 0x9b, 0x11}
	id := t.UUID()
	name := slices.Concat(id[:], document[:])
	return uuid.NewSHA1(namespace, binary.BigEndian.AppendUint64(name, uint64(chunk)))
}

// Upsert stores points, replacing those with the same ids, and returns when they can be found. It sends as many requests
// as their size takes; after a failure some may be stored, and the same call can simply be made again. A point whose id
// belongs to another tenant's point is not stored.
func (s *Store) Upsert(ctx context.Context, t tenant.ID, sp Space, points []Point) error {
	own, err := within(t, Filter{})
	if err != nil {
		return err
	}
	name, err := s.collection(sp)
	if err != nil {
		return err
	}
	structs := make([]*qdrant.PointStruct, len(points))
	for i, p := range points {
		if structs[i], err = p.encode(t, sp); err != nil {
			return err
		}
	}
	for len(structs) > 0 {
		n := batch(structs)
		if err := s.upsert(ctx, &qdrant.UpsertPoints{
			CollectionName: name, Points: structs[:n], Wait: new(true), UpdateFilter: own,
		}); err != nil {
			return err
		}
		structs = structs[n:]
	}
	return nil
}

// batch returns how many of the points go into one request: at least one.
func batch(points []*qdrant.PointStruct) int {
	size := 0
	for i, p := range points {
		if size += proto.Size(p); size > batchBytes && i > 0 {
			return i
		}
	}
	return len(points)
}

func (s *Store) upsert(ctx context.Context, req *qdrant.UpsertPoints) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.client.Points().Upsert(ctx, req)
	return classify(ctx, "upsert points", err)
}

func (p Point) encode(t tenant.ID, sp Space) (*qdrant.PointStruct, error) {
	if slices.Contains([]uuid.UUID{p.ID, p.DocumentID, p.ChunkID}, uuid.Nil) {
		return nil, fault.New(fault.Invalid, "vector.id", "A point needs an id, a document and a chunk.")
	}
	if err := sp.accept(p.Dense); err != nil {
		return nil, err
	}
	vectors := map[string]*qdrant.Vector{vectorDense: qdrant.NewVectorDense(p.Dense)}
	if !p.Sparse.IsEmpty() {
		if err := p.Sparse.check(); err != nil {
			return nil, err
		}
		vectors[vectorSparse] = qdrant.NewVectorSparse(p.Sparse.Indices, p.Sparse.Values)
	}
	tags := make([]*qdrant.Value, len(p.Tags))
	for i, tag := range p.Tags {
		tags[i] = qdrant.NewValueString(tag)
	}
	payload := map[string]*qdrant.Value{
		fieldTenant:       qdrant.NewValueString(t.String()),
		fieldDocument:     qdrant.NewValueString(p.DocumentID.String()),
		fieldChunk:        qdrant.NewValueString(p.ChunkID.String()),
		fieldDocumentType: qdrant.NewValueString(p.DocumentType),
		fieldTags:         qdrant.NewValueList(&qdrant.ListValue{Values: tags}),
		fieldPublic:       qdrant.NewValueBool(p.Public),
		fieldOwner:        qdrant.NewValueString(ownerOrganization),
	}
	if p.ProjectID != nil {
		payload[fieldOwner] = qdrant.NewValueString(ownerProject)
		payload[fieldProject] = qdrant.NewValueString(p.ProjectID.String())
	}
	return &qdrant.PointStruct{
		Id: qdrant.NewIDUUID(p.ID.String()), Payload: payload, Vectors: qdrant.NewVectorsMap(vectors),
	}, nil
}

// DeleteDocument removes every point of a document and returns when they cannot be found any more. It is no error when
// there are none, or no space.
func (s *Store) DeleteDocument(ctx context.Context, t tenant.ID, sp Space, document uuid.UUID) error {
	if document == uuid.Nil {
		return fault.New(fault.Invalid, "vector.id", "A document is needed.")
	}
	filter, err := within(t, Filter{DocumentIDs: []uuid.UUID{document}})
	if err != nil {
		return err
	}
	name, err := s.collection(sp)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = s.client.Points().Delete(ctx, &qdrant.DeletePoints{
		CollectionName: name, Points: qdrant.NewPointsSelectorFilter(filter), Wait: new(true),
	})
	if err = classify(ctx, "delete document", err); fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// Count returns how many points of the tenant the filter leaves, exactly.
func (s *Store) Count(ctx context.Context, t tenant.ID, sp Space, f Filter) (int, error) {
	filter, err := within(t, f)
	if err != nil {
		return 0, err
	}
	name, err := s.collection(sp)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.client.Points().Count(ctx, &qdrant.CountPoints{
		CollectionName: name, Filter: filter, Exact: new(true),
	})
	if err != nil {
		return 0, classify(ctx, "count points", err)
	}
	return int(resp.GetResult().GetCount()), nil
}
