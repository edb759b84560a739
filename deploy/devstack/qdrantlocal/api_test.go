package qdrantlocal_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestHealthCheckSaysThatItIsAStandIn(t *testing.T) {
	t.Parallel()
	c := start(t)
	reply, err := c.health.HealthCheck(t.Context(), &qdrant.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "qdrantlocal (local stand-in for Qdrant)"; reply.GetTitle() != want {
		t.Errorf("title is %q, want %q", reply.GetTitle(), want)
	}
	standard, err := healthpb.NewHealthClient(c.conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || standard.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("standard health check answers %v, %v", standard, err)
	}
}

func TestCollectionsAreCreatedListedDescribedAndDropped(t *testing.T) {
	t.Parallel()
	c := start(t)
	ctx := t.Context()
	c.create(3)
	c.index("tenant", qdrant.FieldType_FieldTypeKeyword)
	c.upsert(newPoint(1, dense(1, 0, 0), map[string]any{"tenant": "a"}))

	_, err := c.collections.Create(ctx, collectionConfig(collection, 3))
	wantCode(t, err, codes.AlreadyExists)

	list, err := c.collections.List(ctx, &qdrant.ListCollectionsRequest{})
	if err != nil || len(list.GetCollections()) != 1 || list.GetCollections()[0].GetName() != collection {
		t.Errorf("list answers %v, %v", list, err)
	}
	info, err := c.collections.Get(ctx, &qdrant.GetCollectionInfoRequest{CollectionName: collection})
	if err != nil {
		t.Fatal(err)
	}
	params := info.GetResult().GetConfig().GetParams()
	if got := params.GetVectorsConfig().GetParamsMap().GetMap()["dense"].GetSize(); got != 3 {
		t.Errorf("dense size is %d, want 3", got)
	}
	if got := params.GetSparseVectorsConfig().GetMap()["words"].GetModifier(); got != qdrant.Modifier_Idf {
		t.Errorf("modifier of words is %v", got)
	}
	if schema := info.GetResult().GetPayloadSchema()["tenant"]; schema.GetDataType() != qdrant.PayloadSchemaType_Keyword ||
		schema.GetPoints() != 1 {
		t.Errorf("schema of tenant is %v", schema)
	}
	if got := info.GetResult().GetPointsCount(); got != 1 {
		t.Errorf("points count is %d, want 1", got)
	}

	for _, want := range []bool{true, false} {
		dropped, err := c.collections.Delete(ctx, &qdrant.DeleteCollection{CollectionName: collection})
		if err != nil || dropped.GetResult() != want {
			t.Errorf("delete answers %v, %v; want %v", dropped, err, want)
		}
	}
	exists, err := c.collections.CollectionExists(ctx, &qdrant.CollectionExistsRequest{CollectionName: collection})
	if err != nil || exists.GetResult().GetExists() {
		t.Errorf("exists answers %v, %v after the drop", exists, err)
	}
}

func TestWhatIsMissingIsRefusedByName(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	c.upsert(newPoint(1, dense(1, 0), nil))
	ctx := t.Context()
	nearest := qdrant.NewQueryDense([]float32{1, 0})
	query := func(change func(*qdrant.QueryPoints)) func() error {
		return func() error {
			q := &qdrant.QueryPoints{CollectionName: collection, Query: nearest, Using: new("dense")}
			change(q)
			_, err := c.points.Query(ctx, q)
			return err
		}
	}
	filter := func(cond *qdrant.Condition) func() error {
		return query(func(q *qdrant.QueryPoints) { q.Filter = must(cond) })
	}
	create := func(change func(*qdrant.CreateCollection)) func() error {
		return func() error {
			config := collectionConfig("other", 2)
			change(config)
			_, err := c.collections.Create(ctx, config)
			return err
		}
	}
	tests := []struct {
		name string
		call func() error
		says string
	}{
		{"recommend", func() error {
			_, err := c.points.Recommend(ctx, &qdrant.RecommendPoints{CollectionName: collection})
			return err
		}, "Recommend"},
		{"facet", func() error {
			_, err := c.points.Facet(ctx, &qdrant.FacetCounts{CollectionName: collection})
			return err
		}, "Facet"},
		{"aliases", func() error {
			_, err := c.collections.ListAliases(ctx, &qdrant.ListAliasesRequest{})
			return err
		}, "ListAliases"},
		{"snapshots", func() error {
			_, err := qdrant.NewSnapshotsClient(c.conn).List(ctx, &qdrant.ListSnapshotsRequest{CollectionName: collection})
			return err
		}, "List"},
		{"order by", query(func(q *qdrant.QueryPoints) {
			q.Query = qdrant.NewQueryOrderBy(&qdrant.OrderBy{Key: "n"})
		}), "order_by"},
		{"sampling", query(func(q *qdrant.QueryPoints) { q.Query = qdrant.NewQuerySample(qdrant.Sample_Random) }), "sample"},
		{"distribution-based fusion", query(func(q *qdrant.QueryPoints) {
			q.Prefetch = []*qdrant.PrefetchQuery{{Query: nearest, Using: new("dense")}}
			q.Query = qdrant.NewQueryFusion(qdrant.Fusion_DBSF)
		}), "DBSF"},
		{"lookup in another collection", query(func(q *qdrant.QueryPoints) {
			q.LookupFrom = &qdrant.LookupLocation{CollectionName: "other"}
		}), "lookup_from"},
		{"a multivector query", query(func(q *qdrant.QueryPoints) {
			q.Query = qdrant.NewQueryMulti([][]float32{{1, 0}})
		}), "multivectors"},
		{"inference", query(func(q *qdrant.QueryPoints) {
			q.Query = qdrant.NewQueryDocument(&qdrant.Document{Text: "x"})
		}), "inference"},
		{"full-text match", filter(qdrant.NewMatchText("a", "b")), "full-text"},
		{"geo condition", filter(qdrant.NewGeoRadius("a", 1, 2, 3)), "geo"},
		{"datetime range", filter(qdrant.NewDatetimeRange("a", &qdrant.DatetimeRange{})), "datetime"},
		{"euclidean distance", create(func(r *qdrant.CreateCollection) {
			r.VectorsConfig = qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: 2, Distance: qdrant.Distance_Euclid})
		}), "Euclid"},
		{"custom sharding", create(func(r *qdrant.CreateCollection) {
			r.ShardingMethod = qdrant.ShardingMethod_Custom.Enum()
		}), "sharding"},
		{"bytes for vectors", create(func(r *qdrant.CreateCollection) {
			r.VectorsConfig = qdrant.NewVectorsConfig(&qdrant.VectorParams{
				Size: 2, Distance: qdrant.Distance_Dot, Datatype: qdrant.Datatype_Uint8.Enum(),
			})
		}), "Uint8"},
		{"text index", func() error {
			_, err := c.points.CreateFieldIndex(ctx, &qdrant.CreateFieldIndexCollection{
				CollectionName: collection, FieldName: "a", FieldType: qdrant.FieldType_FieldTypeText.Enum(),
			})
			return err
		}, "Text"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.call()
			wantCode(t, err, codes.Unimplemented)
			if !strings.Contains(status.Convert(err).Message(), test.says) {
				t.Errorf("message %q does not name %q", err, test.says)
			}
		})
	}
}

func TestWrongInputIsRefused(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	ctx := t.Context()
	upsert := func(p *qdrant.PointStruct) func() error {
		return func() error {
			_, err := c.points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: collection, Points: []*qdrant.PointStruct{p}})
			return err
		}
	}
	query := func(q *qdrant.Query, using string) func() error {
		return func() error {
			_, err := c.points.Query(ctx, &qdrant.QueryPoints{CollectionName: collection, Query: q, Using: &using})
			return err
		}
	}
	tests := []struct {
		name string
		call func() error
		code codes.Code
	}{
		{"a vector too short", upsert(newPoint(1, dense(1), nil)), codes.InvalidArgument},
		{"a vector that is not a number", upsert(newPoint(1, dense(1, float32(math.NaN())), nil)), codes.InvalidArgument},
		{"an unknown vector name", upsert(newPoint(1, named("x", 1, 0), nil)), codes.InvalidArgument},
		{"a sparse vector for a dense one", upsert(newPoint(1, map[string]*qdrant.Vector{
			"dense": qdrant.NewVectorSparse([]uint32{1}, []float32{1}),
		}, nil)), codes.InvalidArgument},
		{"a dense vector for a sparse one", upsert(newPoint(1, named("words", 1, 0), nil)), codes.InvalidArgument},
		{"a sparse index given twice", upsert(newPoint(1, words([]uint32{7, 7}, []float32{1, 2}), nil)), codes.InvalidArgument},
		{"more indices than values", upsert(newPoint(1, words([]uint32{7, 8}, []float32{1}), nil)), codes.InvalidArgument},
		{"an id that is no UUID", upsert(&qdrant.PointStruct{Id: qdrant.NewID("nonsense")}), codes.InvalidArgument},
		{"no id", upsert(&qdrant.PointStruct{}), codes.InvalidArgument},
		{"a query of the wrong size", query(qdrant.NewQueryDense([]float32{1, 2, 3}), "dense"), codes.InvalidArgument},
		{"a query of an unknown vector", query(qdrant.NewQueryDense([]float32{1, 2}), "nope"), codes.InvalidArgument},
		{"a query of the default vector that is not there", query(qdrant.NewQueryDense([]float32{1, 2}), ""), codes.InvalidArgument},
		{"fusion of nothing", query(qdrant.NewQueryFusion(qdrant.Fusion_RRF), ""), codes.InvalidArgument},
		{"a condition that says nothing", func() error {
			_, err := c.points.Count(ctx, &qdrant.CountPoints{CollectionName: collection, Filter: must(&qdrant.Condition{})})
			return err
		}, codes.InvalidArgument},
		{"a delete of nothing named", func() error {
			_, err := c.points.Delete(ctx, &qdrant.DeletePoints{CollectionName: collection})
			return err
		}, codes.InvalidArgument},
		{"a missing collection in an upsert", func() error {
			_, err := c.points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: "nope"})
			return err
		}, codes.NotFound},
		{"a missing collection in a query", func() error {
			_, err := c.points.Query(ctx, &qdrant.QueryPoints{CollectionName: "nope"})
			return err
		}, codes.NotFound},
		{"a missing collection in a count", func() error {
			_, err := c.points.Count(ctx, &qdrant.CountPoints{CollectionName: "nope"})
			return err
		}, codes.NotFound},
		{"a missing collection in a delete of points", func() error {
			_, err := c.points.Delete(ctx, &qdrant.DeletePoints{CollectionName: "nope", Points: qdrant.NewPointsSelectorFilter(nil)})
			return err
		}, codes.NotFound},
	}
	for _, test := range tests {
		if err := test.call(); status.Code(err) != test.code {
			t.Errorf("%s: code is %v, want %v: %v", test.name, status.Code(err), test.code, err)
		}
	}
	if got := c.count(nil); got != 0 {
		t.Errorf("refused upserts left %d points behind", got)
	}
}

func TestAPointIsReadBackAsItWasStored(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	id := qdrant.NewID("018F2B6E-0000-7000-8000-000000000001")
	vectors := dense(3, 4)
	vectors["raw"] = qdrant.NewVectorDense([]float32{3, 4})
	vectors["words"] = qdrant.NewVectorSparse([]uint32{9, 2}, []float32{0.5, 1.5})
	c.upsert(&qdrant.PointStruct{
		Id: id, Vectors: qdrant.NewVectorsMap(vectors),
		Payload: qdrant.NewValueMap(map[string]any{"title": "x", "tags": []any{"a", "b"}, "secret": true}),
	})
	resp, err := c.points.Get(t.Context(), &qdrant.GetPoints{
		CollectionName: collection, Ids: []*qdrant.PointId{id, qdrant.NewIDNum(5)},
		WithPayload: qdrant.NewWithPayloadExclude("secret"), WithVectors: qdrant.NewWithVectors(true),
	})
	if err != nil || len(resp.GetResult()) != 1 {
		t.Fatalf("get answers %v, %v", resp, err)
	}
	got := resp.GetResult()[0]
	if want := "018f2b6e-0000-7000-8000-000000000001"; got.GetId().GetUuid() != want {
		t.Errorf("id is %q, want the canonical %q", got.GetId().GetUuid(), want)
	}
	if len(got.GetPayload()) != 2 || got.GetPayload()["secret"] != nil {
		t.Errorf("payload is %v, want all but secret", got.GetPayload())
	}
	named := got.GetVectors().GetVectors().GetVectors()
	if v := named["dense"].GetDenseVector().GetData(); !slices.Equal(v, []float32{0.6, 0.8}) {
		t.Errorf("cosine vector is %v, want it normalized", v)
	}
	if v := named["raw"].GetDenseVector().GetData(); !slices.Equal(v, []float32{3, 4}) {
		t.Errorf("dot vector is %v", v)
	}
	if v := named["words"].GetSparseVector(); !slices.Equal(v.GetIndices(), []uint32{2, 9}) ||
		!slices.Equal(v.GetValues(), []float32{1.5, 0.5}) {
		t.Errorf("sparse vector is %v", v)
	}
}

func TestPayloadsAreMergedReplacedAndReindexed(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	c.index("tenant", qdrant.FieldType_FieldTypeKeyword)
	c.upsert(newPoint(1, dense(1, 0), map[string]any{"tenant": "a", "n": 1}), newPoint(2, dense(1, 0), map[string]any{"tenant": "b"}))
	_, err := c.points.SetPayload(t.Context(), &qdrant.SetPayloadPoints{
		CollectionName: collection, Payload: qdrant.NewValueMap(map[string]any{"tenant": "c"}),
		PointsSelector: qdrant.NewPointsSelectorFilter(must(qdrant.NewMatch("tenant", "a"))),
	})
	if err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]int{"a": 0, "b": 1, "c": 1} {
		if got := c.count(must(qdrant.NewMatch("tenant", tenant))); got != want {
			t.Errorf("tenant %s has %d points, want %d", tenant, got, want)
		}
	}
	if got := c.count(must(qdrant.NewMatchInt("n", 1))); got != 1 {
		t.Errorf("set payload lost another key: %d points have n = 1", got)
	}
	_, err = c.points.OverwritePayload(t.Context(), &qdrant.SetPayloadPoints{
		CollectionName: collection, Payload: qdrant.NewValueMap(map[string]any{"tenant": "d"}),
		PointsSelector: qdrant.NewPointsSelector(qdrant.NewIDNum(1)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.count(must(qdrant.NewMatchInt("n", 1))); got != 0 {
		t.Errorf("overwrite payload kept another key")
	}
	if got := c.count(must(qdrant.NewMatch("tenant", "d"))); got != 1 {
		t.Errorf("tenant d has %d points, want 1", got)
	}
}

func TestAnUpdateFilterProtectsWhatItDoesNotMatch(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	c.upsert(newPoint(1, dense(1, 0), map[string]any{"tenant": "a"}))
	_, err := c.points.Upsert(t.Context(), &qdrant.UpsertPoints{
		CollectionName: collection,
		Points: []*qdrant.PointStruct{
			newPoint(1, dense(0, 1), map[string]any{"tenant": "b"}),
			newPoint(2, dense(0, 1), map[string]any{"tenant": "b"}),
		},
		UpdateFilter: must(qdrant.NewMatch("tenant", "b")),
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := c.count(must(qdrant.NewMatch("tenant", "a"))), c.count(must(qdrant.NewMatch("tenant", "b"))); a != 1 || b != 1 {
		t.Errorf("tenant a has %d points and b %d, want one each", a, b)
	}
}

func TestScrollWalksEveryPointOnceInTheOrderOfIds(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	uuidPoint := newPoint(0, dense(1, 0), map[string]any{"even": true})
	uuidPoint.Id = qdrant.NewID("00000000-0000-0000-0000-000000000001")
	c.upsert(uuidPoint)
	for _, n := range []uint64{9, 3, 7, 4, 1, 8} {
		c.upsert(newPoint(n, dense(1, 0), map[string]any{"even": n%2 == 0}))
	}
	walk := func(filter *qdrant.Filter) (ids []string) {
		var offset *qdrant.PointId
		for {
			resp, err := c.points.Scroll(t.Context(), &qdrant.ScrollPoints{
				CollectionName: collection, Limit: new(uint32(2)), Offset: offset, Filter: filter,
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range resp.GetResult() {
				if p.GetPayload() == nil {
					t.Errorf("scroll leaves the payload out")
				}
				id := p.GetId().GetUuid()
				if id == "" {
					id = string(rune('0' + p.GetId().GetNum()))
				}
				ids = append(ids, id)
			}
			if offset = resp.GetNextPageOffset(); offset == nil {
				return ids
			}
		}
	}
	last := "00000000-0000-0000-0000-000000000001"
	if got, want := walk(nil), []string{"1", "3", "4", "7", "8", "9", last}; !slices.Equal(got, want) {
		t.Errorf("scrolled %v, want %v", got, want)
	}
	if got, want := walk(must(qdrant.NewMatchBool("even", true))), []string{"4", "8", last}; !slices.Equal(got, want) {
		t.Errorf("scrolled %v with a filter, want %v", got, want)
	}
}
