package qdrantlocal_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/qdrant/go-client/qdrant"
)

func TestAFilterSelects(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	// The same data is asked with and without indexes, which must not change any answer.
	points := []*qdrant.PointStruct{
		newPoint(1, dense(1, 0), map[string]any{"kind": "pdf", "pages": 10, "public": true, "tags": []any{"a", "b"}}),
		newPoint(2, dense(1, 0), map[string]any{"kind": "docx", "pages": 2.5, "public": false, "tags": []any{}}),
		newPoint(3, nil, map[string]any{"kind": nil, "pages": 10, "owner": map[string]any{"team": "x"}}),
		newPoint(4, dense(1, 0), map[string]any{"parts": []any{
			map[string]any{"lang": "go", "size": 1}, map[string]any{"lang": "c", "size": 9},
		}}),
	}
	c.upsert(points...)
	field, integer := qdrant.NewMatch, qdrant.NewMatchInt
	nested := func(conditions ...*qdrant.Condition) *qdrant.Filter {
		return must(qdrant.NewNestedFilter("parts", must(conditions...)))
	}
	number := func(n float64) *float64 { return &n }
	tests := []struct {
		name   string
		filter *qdrant.Filter
		want   []uint64
	}{
		{"everything without conditions", nil, []uint64{1, 2, 3, 4}},
		{"everything when it is empty", &qdrant.Filter{}, []uint64{1, 2, 3, 4}},
		{"a keyword", must(field("kind", "pdf")), []uint64{1}},
		{"a keyword nobody has", must(field("kind", "txt")), nil},
		{"any of several keywords", must(qdrant.NewMatchKeywords("kind", "pdf", "docx", "txt")), []uint64{1, 2}},
		{"any of no keywords: nothing", must(qdrant.NewMatchKeywords("kind")), nil},
		{"all but a keyword, leaving out null and absent", must(qdrant.NewMatchExcept("kind", "pdf")), []uint64{2}},
		{"an integer", must(integer("pages", 10)), []uint64{1, 3}},
		{"any of several integers", must(qdrant.NewMatchInts("pages", 9, 10)), []uint64{1, 3}},
		{"all but an integer, counting other numbers", must(qdrant.NewMatchExceptInts("pages", 10)), []uint64{2}},
		{"a boolean", must(qdrant.NewMatchBool("public", false)), []uint64{2}},
		{"an element of a list", must(field("tags", "b")), []uint64{1}},
		{"several conditions at once", must(integer("pages", 10), qdrant.NewMatchBool("public", true)), []uint64{1}},
		{"either of two", &qdrant.Filter{Should: []*qdrant.Condition{field("kind", "pdf"), field("owner.team", "x")}}, []uint64{1, 3}},
		{"none of two", &qdrant.Filter{MustNot: []*qdrant.Condition{field("kind", "pdf"), field("owner.team", "x")}}, []uint64{2, 4}},
		{"at least two of three", &qdrant.Filter{MinShould: &qdrant.MinShould{MinCount: 2, Conditions: []*qdrant.Condition{
			field("kind", "pdf"), integer("pages", 10), qdrant.NewMatchBool("public", false),
		}}}, []uint64{1}},
		{"a range of any number type", must(qdrant.NewRange("pages", &qdrant.Range{Gt: number(2), Lte: number(10)})), []uint64{1, 2, 3}},
		{"a range that excludes its ends", must(qdrant.NewRange("pages", &qdrant.Range{Gte: number(2.5), Lt: number(10)})), []uint64{2}},
		{"an absent, null or empty field", must(qdrant.NewIsEmpty("tags")), []uint64{2, 3, 4}},
		{"a null field", must(qdrant.NewIsNull("kind")), []uint64{3}},
		{"a number of values", must(qdrant.NewValuesCount("tags", &qdrant.ValuesCount{Gte: new(uint64(2))})), []uint64{1}},
		{"ids", must(qdrant.NewHasID(qdrant.NewIDNum(2), qdrant.NewIDNum(4), qdrant.NewIDNum(77))), []uint64{2, 4}},
		{"points with a vector", must(qdrant.NewHasVector("dense")), []uint64{1, 2, 4}},
		{"a path into an object", must(field("owner.team", "x")), []uint64{3}},
		{"a path through a list", must(field("parts[].lang", "c")), []uint64{4}},
		{"paths through a list, in different elements", must(field("parts[].lang", "c"), integer("parts[].size", 1)), []uint64{4}},
		{"nested: both in one element", nested(field("lang", "c"), integer("size", 9)), []uint64{4}},
		{"nested: not when in different elements", nested(field("lang", "c"), integer("size", 1)), nil},
		{"a filter within a filter", must(integer("pages", 10), qdrant.NewFilterAsCondition(&qdrant.Filter{
			Should: []*qdrant.Condition{qdrant.NewMatchBool("public", true), qdrant.NewIsEmpty("public")},
		})), []uint64{1, 3}},
	}
	ask := func(how string) {
		t.Helper()
		for _, test := range tests {
			got := numbers(c.query(&qdrant.QueryPoints{Filter: test.filter}))
			if !slices.Equal(got, test.want) {
				t.Errorf("%s, %s: selected %v, want %v", test.name, how, got, test.want)
			}
			if n := c.count(test.filter); n != len(test.want) {
				t.Errorf("%s, %s: counted %d, want %d", test.name, how, n, len(test.want))
			}
		}
	}
	ask("without indexes")
	c.index("kind", qdrant.FieldType_FieldTypeKeyword)
	c.index("tags", qdrant.FieldType_FieldTypeKeyword)
	c.index("pages", qdrant.FieldType_FieldTypeInteger)
	c.index("public", qdrant.FieldType_FieldTypeBool)
	c.index("owner.team", qdrant.FieldType_FieldTypeKeyword)
	c.index("parts[].lang", qdrant.FieldType_FieldTypeKeyword)
	c.index("lang", qdrant.FieldType_FieldTypeKeyword) // which is not that of the parts, though a nested filter calls it so
	ask("with indexes")
	c.upsert(points...)
	ask("with indexes after storing again")
}

func TestDenseSearchRanksByDistance(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	both := func(x, y float32) map[string]*qdrant.Vector {
		return map[string]*qdrant.Vector{"dense": qdrant.NewVector(x, y), "raw": qdrant.NewVector(x, y)}
	}
	c.upsert(newPoint(1, both(10, 10), nil), newPoint(2, both(1, 0), nil), newPoint(3, both(0, 2), nil), newPoint(4, nil, nil))
	asking := func(using string, query *qdrant.Query, changes ...func(*qdrant.QueryPoints)) *qdrant.QueryPoints {
		q := &qdrant.QueryPoints{Using: &using, Query: query}
		for _, change := range changes {
			change(q)
		}
		return q
	}
	threshold := func(q *qdrant.QueryPoints) { q.ScoreThreshold = new(float32(2)) }
	second := func(q *qdrant.QueryPoints) { q.Limit, q.Offset = new(uint64(1)), new(uint64(1)) }
	beyond := func(q *qdrant.QueryPoints) { q.Offset = new(uint64(99)) }
	prefetched := func(q *qdrant.QueryPoints) {
		q.Prefetch = []*qdrant.PrefetchQuery{{Using: new("dense"), Query: qdrant.NewQuery(1, 0), Limit: new(uint64(2))}}
	}
	diagonal := qdrant.NewQuery(1, 1)
	tests := []struct {
		name   string
		query  *qdrant.QueryPoints
		want   []uint64
		scores []float32
	}{
		{"cosine cares for direction", asking("dense", qdrant.NewQuery(5, 0)), []uint64{2, 1, 3}, []float32{1, math.Sqrt2 / 2, 0}},
		{"dot cares for length", asking("raw", diagonal), []uint64{1, 3, 2}, []float32{20, 2, 1}},
		{"a threshold cuts", asking("raw", diagonal, threshold), []uint64{1, 3}, []float32{20, 2}},
		{"limit and offset page", asking("raw", diagonal, second), []uint64{3}, []float32{2}},
		{"an offset beyond the end is empty", asking("raw", diagonal, beyond), nil, nil},
		{
			"a point asks for its neighbors, not itself",
			asking("dense", qdrant.NewQueryID(qdrant.NewIDNum(2))),
			[]uint64{1, 3},
			[]float32{math.Sqrt2 / 2, 0},
		},
		{
			"a query over prefetched points ranks anew",
			asking("raw", qdrant.NewQuery(0, 1), prefetched),
			[]uint64{1, 2},
			[]float32{10, 0},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantRanking(t, c.query(test.query), test.want, test.scores)
		})
	}
}

func wantRanking(t *testing.T, got []*qdrant.ScoredPoint, ids []uint64, scores []float32) {
	t.Helper()
	if !slices.Equal(numbers(got), ids) {
		t.Fatalf("ranked %v, want %v", numbers(got), ids)
	}
	for i, p := range got {
		if math.Abs(float64(p.GetScore()-scores[i])) > 1e-5 {
			t.Errorf("point %d scores %v, want %v", ids[i], p.GetScore(), scores[i])
		}
	}
}

func TestSparseSearchWeighsByRarityInTheWholeCollection(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	vectors := func(indices []uint32, values []float32) map[string]*qdrant.Vector {
		v := qdrant.NewVectorSparse(indices, values)
		return map[string]*qdrant.Vector{"words": v, "sparse": v}
	}
	tenant := func(name string) map[string]any { return map[string]any{"tenant": name} }
	c.upsert(
		newPoint(1, vectors([]uint32{1, 2}, []float32{1, 2}), tenant("a")),
		newPoint(2, vectors([]uint32{2}, []float32{3}), tenant("a")),
		newPoint(3, vectors([]uint32{2, 3}, []float32{1, 1}), tenant("b")),
		newPoint(4, dense(1, 0), tenant("a")),
	)
	idf := func(n, df float64) float32 { return float32(math.Log((n-df+0.5)/(df+0.5) + 1)) }
	rare, common := idf(3, 1), idf(3, 3)
	query := qdrant.NewQuerySparse([]uint32{2, 1, 99}, []float32{1, 1, 1})
	inA := must(qdrant.NewMatch("tenant", "a"))

	plain := c.query(&qdrant.QueryPoints{Using: new("sparse"), Query: query, Filter: inA})
	wantRanking(t, plain, []uint64{1, 2}, []float32{3, 3})
	weighed := c.query(&qdrant.QueryPoints{Using: new("words"), Query: query, Filter: inA})
	wantRanking(t, weighed, []uint64{1, 2}, []float32{rare + 2*common, 3 * common})

	// What is deleted or replaced no longer counts.
	if _, err := c.points.Delete(t.Context(), &qdrant.DeletePoints{
		CollectionName: collection, Points: qdrant.NewPointsSelector(qdrant.NewIDNum(2)),
	}); err != nil {
		t.Fatal(err)
	}
	c.upsert(newPoint(3, vectors([]uint32{3}, []float32{1}), tenant("b")))
	got := c.query(&qdrant.QueryPoints{Using: new("words"), Query: query, Filter: inA})
	wantRanking(t, got, []uint64{1}, []float32{3 * idf(2, 1)})
}

func TestReciprocalRankFusionScoresLikeQdrant(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.create(2)
	vectors := func(x, y float32, value float32) map[string]*qdrant.Vector {
		return map[string]*qdrant.Vector{"raw": qdrant.NewVector(x, y), "sparse": qdrant.NewVectorSparse([]uint32{1}, []float32{value})}
	}
	even := func(n int) map[string]any { return map[string]any{"even": n%2 == 0} }
	// By raw: 1, 2, 3. By sparse: 2, 3, 1.
	c.upsert(newPoint(1, vectors(3, 0, 1), even(1)), newPoint(2, vectors(2, 0, 3), even(2)), newPoint(3, vectors(1, 0, 2), even(3)))
	prefetch := []*qdrant.PrefetchQuery{
		{Using: new("raw"), Query: qdrant.NewQuery(1, 0)},
		{Using: new("sparse"), Query: qdrant.NewQuerySparse([]uint32{1}, []float32{1})},
	}
	tests := []struct {
		name   string
		query  *qdrant.QueryPoints
		want   []uint64
		scores []float32
	}{
		{
			"k is 2 and positions count from zero", &qdrant.QueryPoints{Query: qdrant.NewQueryFusion(qdrant.Fusion_RRF)},
			[]uint64{2, 1, 3},
			[]float32{1./3 + 1./2, 1./2 + 1./4, 1./4 + 1./3},
		},
		{
			"k can be chosen", &qdrant.QueryPoints{Query: qdrant.NewQueryRRF(&qdrant.Rrf{K: new(uint32(60))})},
			[]uint64{2, 1, 3},
			[]float32{1./61 + 1./60, 1./60 + 1./62, 1./62 + 1./61},
		},
		{
			"weights shrink distances", &qdrant.QueryPoints{Query: qdrant.NewQueryRRF(&qdrant.Rrf{Weights: []float32{3, 1}})},
			[]uint64{2, 1, 3},
			[]float32{1/(2./3+1) + 1./2, 1/(1./3+1) + 1./4, 1/(3./3+1) + 1./3},
		},
		{"a root filter reaches into every prefetch", &qdrant.QueryPoints{
			Query: qdrant.NewQueryFusion(qdrant.Fusion_RRF), Filter: must(qdrant.NewMatchBool("even", false)),
		}, []uint64{1, 3}, []float32{1./2 + 1./3, 1./3 + 1./2}},
		{"a threshold applies to the fused score", &qdrant.QueryPoints{
			Query: qdrant.NewQueryFusion(qdrant.Fusion_RRF), ScoreThreshold: new(float32(0.7)),
		}, []uint64{2, 1}, []float32{1./3 + 1./2, 1./2 + 1./4}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.query.Prefetch = prefetch
			wantRanking(t, c.query(test.query), test.want, test.scores)
		})
	}
}

// TestSearchAgreesWithANaiveOneThroughRandomChanges stores, replaces and deletes at random, and compares every answer
// with one computed from a plain map, before and after the log is read again.
func TestSearchAgreesWithANaiveOneThroughRandomChanges(t *testing.T) {
	t.Parallel()
	const dim, tenants, ids = 19, 3, 60
	rng := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	c := serve(t, open(t, dir))
	c.create(dim)
	c.index("tenant", qdrant.FieldType_FieldTypeKeyword)
	type entry struct {
		tenant string
		vector []float32
	}
	model := map[uint64]entry{}
	vector := func() []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = rng.Float32() - 0.5
		}
		return v
	}
	check := func(c *client) {
		t.Helper()
		query, tenant := vector(), fmt.Sprint("t", rng.IntN(tenants))
		type hit struct {
			id    uint64
			score float64
		}
		var want []hit
		for id, e := range model {
			if e.tenant != tenant {
				continue
			}
			sum := 0.0
			for i := range query {
				sum += float64(query[i]) * float64(e.vector[i])
			}
			want = append(want, hit{id, sum})
		}
		slices.SortFunc(want, func(a, b hit) int {
			if a.score > b.score {
				return -1
			}
			return 1
		})
		want = want[:min(5, len(want))]
		got := c.query(&qdrant.QueryPoints{
			Query: qdrant.NewQueryDense(query), Using: new("raw"), Limit: new(uint64(5)),
			Filter: must(qdrant.NewMatch("tenant", tenant)),
		})
		if len(got) != len(want) {
			t.Fatalf("found %d points, want %d", len(got), len(want))
		}
		for i := range got {
			if math.Abs(float64(got[i].GetScore())-want[i].score) > 1e-4 {
				t.Fatalf("rank %d is %v, want %v", i, got[i], want[i])
			}
		}
	}
	for range 400 {
		id := uint64(rng.IntN(ids))
		if rng.IntN(3) == 0 {
			_, err := c.points.Delete(t.Context(), &qdrant.DeletePoints{
				CollectionName: collection, Points: qdrant.NewPointsSelector(qdrant.NewIDNum(id)),
			})
			if err != nil {
				t.Fatal(err)
			}
			delete(model, id)
		} else {
			e := entry{tenant: fmt.Sprint("t", rng.IntN(tenants)), vector: vector()}
			c.upsert(newPoint(id, map[string]*qdrant.Vector{"raw": qdrant.NewVectorDense(e.vector)}, map[string]any{"tenant": e.tenant}))
			model[id] = e
		}
		check(c)
	}
	reopened := serve(t, open(t, snapshotDir(t, dir)))
	for range 20 {
		check(reopened)
	}
}

// BenchmarkTenantSearch searches one of ten tenants that share 20,000 points of 768 dimensions.
func BenchmarkTenantSearch(b *testing.B) {
	const dim, points, tenants = 768, 20_000, 10
	c := start(b)
	c.create(dim)
	c.index("tenant", qdrant.FieldType_FieldTypeKeyword)
	rng := rand.New(rand.NewPCG(1, 2))
	vector := func() []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = rng.Float32() - 0.5
		}
		return v
	}
	for at := 0; at < points; {
		var batch []*qdrant.PointStruct
		for range 500 {
			batch = append(batch, newPoint(uint64(at), dense(vector()...), map[string]any{"tenant": strconv.Itoa(at % tenants)}))
			at++
		}
		c.upsert(batch...)
	}
	for b.Loop() {
		c.query(&qdrant.QueryPoints{
			Query: qdrant.NewQueryDense(vector()), Using: new("dense"), Filter: must(qdrant.NewMatch("tenant", "3")),
		})
	}
}
