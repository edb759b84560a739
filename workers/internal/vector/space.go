package vector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tarento/copilot/pkg/fault"
)

// The names of a point's vectors and payload fields. They are on the server's disk.
const (
	vectorDense  = "dense"
	vectorSparse = "sparse"

	fieldTenant       = "tenant"
	fieldDocument     = "document_id"
	fieldIndexing     = "indexing_id"
	fieldChunk        = "chunk_id"
	fieldProject      = "project_id"
	fieldDocumentType = "document_type"
	fieldTags         = "tags"
	fieldPublic       = "is_public"
	fieldOwner        = "owner_kind"

	// ownerProject and ownerOrganization are the owner kinds: a document belongs to a project, or to the whole tenant.
	ownerProject      = "project"
	ownerOrganization = "organization"
)

// MaxDimension is the largest dimension a Space can have, which is Qdrant's limit.
const MaxDimension = 65536

// Space is where vectors that can be compared live together: those of one model in one dimension.
type Space struct {
	Model     string
	Dimension int
}

// check refuses a space that cannot exist.
func (sp Space) check() error {
	if sp.Model == "" {
		return fault.New(fault.Invalid, "vector.model", "An embedding model is needed.")
	}
	if sp.Dimension < 1 || sp.Dimension > MaxDimension {
		return fault.New(fault.Invalid, "vector.dimension", "A vector must have between 1 and %d dimensions, not %d.",
			MaxDimension, sp.Dimension)
	}
	return nil
}

// accept refuses a dense vector that does not belong into the space.
func (sp Space) accept(dense []float32) error {
	if len(dense) != sp.Dimension {
		return fault.New(fault.Invalid, "vector.dimension", "The vector has %d dimensions; the model %s has %d.",
			len(dense), sp.Model, sp.Dimension)
	}
	for _, x := range dense {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fault.New(fault.Invalid, "vector.not-finite", "The vector holds a value that is not a finite number.")
		}
	}
	return nil
}

// collection names the space's collection. Two spaces never share a name: what the slug loses, a hash of the model
// restores.
func (s *Store) collection(sp Space) (string, error) {
	if err := sp.check(); err != nil {
		return "", err
	}
	const longest = 100
	name := slug(sp.Model)
	if name != sp.Model || len(name) > longest {
		sum := sha256.Sum256([]byte(sp.Model))
		name = name[:min(len(name), longest)] + "-" + hex.EncodeToString(sum[:4])
	}
	return fmt.Sprintf("%s_%s_%d", s.prefix, name, sp.Dimension), nil
}

// slug keeps small letters, digits, dots and dashes, and turns everything else into dashes.
func slug(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return '-'
		}
	}, s)
}

// indexes returns the payload indexes of every collection.
func indexes(collection string) []*qdrant.CreateFieldIndexCollection {
	field := func(name string, kind qdrant.FieldType, params *qdrant.PayloadIndexParams) *qdrant.CreateFieldIndexCollection {
		return &qdrant.CreateFieldIndexCollection{
			CollectionName: collection, FieldName: name, FieldType: kind.Enum(), FieldIndexParams: params, Wait: new(true),
		}
	}
	tenant := qdrant.NewPayloadIndexParamsKeyword(&qdrant.KeywordIndexParams{IsTenant: new(true)})
	return []*qdrant.CreateFieldIndexCollection{
		field(fieldTenant, qdrant.FieldType_FieldTypeKeyword, tenant),
		field(fieldDocument, qdrant.FieldType_FieldTypeUuid, nil),
		field(fieldIndexing, qdrant.FieldType_FieldTypeUuid, nil),
		field(fieldProject, qdrant.FieldType_FieldTypeUuid, nil),
		field(fieldDocumentType, qdrant.FieldType_FieldTypeKeyword, nil),
		field(fieldTags, qdrant.FieldType_FieldTypeKeyword, nil),
		field(fieldPublic, qdrant.FieldType_FieldTypeBool, nil),
		field(fieldOwner, qdrant.FieldType_FieldTypeKeyword, nil),
	}
}

// Ensure makes the space's collection and its indexes, or finds that they are there. It may be called as often and by as
// many processes at once as one likes. It fails with a Conflict when a collection of that name was made otherwise.
func (s *Store) Ensure(ctx context.Context, sp Space) error {
	name, err := s.collection(sp)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := s.describe(ctx, name)
	if status.Code(err) == codes.NotFound {
		if info, err = s.create(ctx, name, sp); err != nil {
			return classify(ctx, "create collection", err)
		}
	}
	if err != nil {
		return classify(ctx, "describe collection", err)
	}
	if err := sp.matches(name, info); err != nil {
		return err
	}
	for _, index := range indexes(name) {
		if _, ok := info.GetPayloadSchema()[index.GetFieldName()]; ok {
			continue
		}
		if _, err := s.client.Points().CreateFieldIndex(ctx, index); err != nil {
			return classify(ctx, "create index "+index.GetFieldName(), err)
		}
	}
	return nil
}

func (s *Store) describe(ctx context.Context, name string) (*qdrant.CollectionInfo, error) {
	resp, err := s.client.Collections().Get(ctx, &qdrant.GetCollectionInfoRequest{CollectionName: name})
	if err != nil {
		return nil, err
	}
	return resp.GetResult(), nil
}

// create makes the collection. Somebody else may be faster: then theirs is described.
func (s *Store) create(ctx context.Context, name string, sp Space) (*qdrant.CollectionInfo, error) {
	_, createErr := s.client.Collections().Create(ctx, &qdrant.CreateCollection{
		CollectionName: name,
		VectorsConfig: qdrant.NewVectorsConfigMap(map[string]*qdrant.VectorParams{
			vectorDense: {Size: uint64(sp.Dimension), Distance: qdrant.Distance_Cosine},
		}),
		SparseVectorsConfig: qdrant.NewSparseVectorsConfig(map[string]*qdrant.SparseVectorParams{
			vectorSparse: {Modifier: qdrant.Modifier_Idf.Enum()},
		}),
		// A graph for each tenant, and none across: no search ever crosses tenants.
		HnswConfig: &qdrant.HnswConfigDiff{M: new(uint64(0)), PayloadM: new(uint64(16))},
	})
	info, err := s.describe(ctx, name)
	if err != nil && createErr != nil {
		return nil, createErr
	}
	return info, err
}

// matches reports whether a collection is what Ensure would have made.
func (sp Space) matches(name string, info *qdrant.CollectionInfo) error {
	params := info.GetConfig().GetParams()
	dense := params.GetVectorsConfig().GetParamsMap().GetMap()[vectorDense]
	sparse := params.GetSparseVectorsConfig().GetMap()[vectorSparse]
	if dense.GetSize() == uint64(sp.Dimension) &&
		dense.GetDistance() == qdrant.Distance_Cosine && sparse.GetModifier() == qdrant.Modifier_Idf {
		return nil
	}
	return fault.New(fault.Conflict, "vector.space-mismatch",
		"The collection %s exists with other settings. Remove it and index again.", name)
}
