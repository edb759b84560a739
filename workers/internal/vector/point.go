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
	Labels

	// ID is the id of a passage that has one, or what PointID gives. A point with the same id is replaced.
	ID         uuid.UUID
	DocumentID uuid.UUID
	ChunkID    uuid.UUID
	// IndexingID tells the passages of one indexing of the document from those of the next; zero where there is only one.
	IndexingID uuid.UUID
	// Dense is the embedding, of the space's dimension. It need not be normalized.
	Dense []float32
	// Sparse is what EncodeDocument gives. It may be empty; then a keyword search never finds the point.
	Sparse Sparse
}

// Labels are what a search narrows by. They are the document's, so all points of a document have the same, and can change while
// its passages stay.
type Labels struct {
	// ProjectID is nil for a document that belongs to the whole tenant.
	ProjectID *uuid.UUID
	// Public makes the passage visible to the whole tenant although it belongs to a project.
	Public       bool
	DocumentType string
	Tags         []string
}

// Equal reports whether two labels say the same.
func (l Labels) Equal(other Labels) bool {
	same := l.ProjectID == other.ProjectID ||
		l.ProjectID != nil && other.ProjectID != nil && *l.ProjectID == *other.ProjectID
	return same && l.Public == other.Public && l.DocumentType == other.DocumentType && slices.Equal(l.Tags, other.Tags)
}

// payload is what of a point's payload the labels make.
func (l Labels) payload() map[string]*qdrant.Value {
	tags := make([]*qdrant.Value, len(l.Tags))
	for i, tag := range l.Tags {
		tags[i] = qdrant.NewValueString(tag)
	}
	payload := map[string]*qdrant.Value{
		fieldDocumentType: qdrant.NewValueString(l.DocumentType),
		fieldTags:         qdrant.NewValueList(&qdrant.ListValue{Values: tags}),
		fieldPublic:       qdrant.NewValueBool(l.Public),
		fieldOwner:        qdrant.NewValueString(ownerOrganization),
		// Null takes away what an earlier label has set.
		fieldProject: qdrant.NewValueNull(),
	}
	if l.ProjectID != nil {
		payload[fieldOwner] = qdrant.NewValueString(ownerProject)
		payload[fieldProject] = qdrant.NewValueString(l.ProjectID.String())
	}
	return payload
}

// PointID names the n-th point, counting from zero, of a document whose passages have no ids of their own. It is a UUIDv5 of its
// arguments: storing the document twice stores every passage once.
func PointID(t tenant.ID, document uuid.UUID, n int) uuid.UUID {
	// Another namespace would give other ids, and every stored point would be left behind.
	namespace := uuid.UUID{0x6c, 0x7b, 0x0b, 0x6e, 0x3d, 0x0e, 0x5a, 0x55, 0x9d, 0x0c, 0x6f, 0x2f, 0x5f, 0x3a, 0x9b, 0x11}
	id := t.UUID()
	name := slices.Concat(id[:], document[:])
	return uuid.NewSHA1(namespace, binary.BigEndian.AppendUint64(name, uint64(n)))
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
	payload := p.payload()
	payload[fieldTenant] = qdrant.NewValueString(t.String())
	payload[fieldDocument] = qdrant.NewValueString(p.DocumentID.String())
	payload[fieldChunk] = qdrant.NewValueString(p.ChunkID.String())
	if p.IndexingID != uuid.Nil {
		payload[fieldIndexing] = qdrant.NewValueString(p.IndexingID.String())
	}
	return &qdrant.PointStruct{
		Id: qdrant.NewIDUUID(p.ID.String()), Payload: payload, Vectors: qdrant.NewVectorsMap(vectors),
	}, nil
}
