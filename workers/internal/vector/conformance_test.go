package vector

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance asks of a server what this package promises. It runs against the local stand-in always, and against a
// real Qdrant as well when QDRANT_TEST_URL (and QDRANT_TEST_API_KEY, if it wants one) is set: what passes here behaves
// the same on both.
func TestConformance(t *testing.T) {
	t.Parallel()
	local := os.Getenv("TEST_QDRANT_URL")
	if local == "" {
		t.Fatal("TEST_QDRANT_URL is not set: run through make test, which serves a local stand-in for Qdrant")
	}
	servers := map[string]Config{"local": {URL: local}}
	if url := os.Getenv("QDRANT_TEST_URL"); url != "" {
		servers["real"] = Config{URL: url, APIKey: secret.New(os.Getenv("QDRANT_TEST_API_KEY"))}
	}
	for name, cfg := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range conformance() {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.test(newWorld(t, cfg))
				})
			}
		})
	}
}

// conformanceCase is one promise. Each runs in a world of its own, at the same time as the others.
type conformanceCase struct {
	name string
	test func(*world)
}

func conformance() []conformanceCase {
	return []conformanceCase{
		{"the server is ready", (*world).testReady},
		{"ensuring a space again changes nothing", (*world).testEnsureAgain},
		{"many ensure one space at once", (*world).testEnsureAtOnce},
		{"a space made otherwise is refused", (*world).testEnsureMismatch},
		{"storing a point twice keeps one", (*world).testUpsertTwice},
		{"more points than fit one request are all stored", (*world).testUpsertMany},
		{"tenants never see each other", (*world).testTenantsApart},
		{"a tenant cannot overwrite the point of another", (*world).testForeignPoint},
		{"no tenant is refused everywhere", (*world).testNoTenant},
		{"filters narrow", (*world).testFilters},
		{"visibility leaves out what may not be seen", (*world).testVisibility},
		{"semantic search ranks by cosine", (*world).testSemantic},
		{"keyword search scores by BM25", (*world).testKeyword},
		{"a rare word outweighs common ones", (*world).testRareWord},
		{"hybrid search fuses by reciprocal rank", (*world).testHybrid},
		{"hybrid search without words is semantic", (*world).testHybridWithoutWords},
		{"limits and thresholds cut", (*world).testLimits},
		{"a deleted document cannot be found", (*world).testDeleteDocument},
		{"a document is deleted from every space", (*world).testDeleteEverywhere},
		{"an indexing of a document can be deleted alone", (*world).testDeleteIndexing},
		{"a document's labels can be changed", (*world).testLabel},
		{"vectors of another dimension are refused", (*world).testDimension},
		{"a missing space is said to be missing", (*world).testMissingSpace},
		{"spaces are apart", (*world).testSpacesApart},
		{"a cancelled call returns the context's error", (*world).testCancelled},
	}
}

// world is a store of its own, with an ensured space of three dimensions and two tenants.
type world struct {
	t     *testing.T
	store *Store
	cfg   Config
	space Space
	a, b  tenant.ID
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	cfg.Prefix = "test-" + strings.ToLower(rand.Text())
	w := &world{t: t, cfg: cfg, space: Space{Model: "model", Dimension: 3}, a: newTenant(t), b: newTenant(t)}
	w.store = w.open()
	t.Cleanup(func() {
		// Not the test's context, which has ended by now.
		ctx := context.WithoutCancel(t.Context())
		resp, err := w.store.client.Collections().List(ctx, &qdrant.ListCollectionsRequest{})
		if err != nil {
			t.Errorf("list collections: %v", err)
		}
		for _, c := range resp.GetCollections() {
			if !strings.HasPrefix(c.GetName(), cfg.Prefix+"_") {
				continue
			}
			if _, err := w.store.client.Collections().Delete(ctx, &qdrant.DeleteCollection{CollectionName: c.GetName()}); err != nil {
				t.Errorf("drop collection: %v", err)
			}
		}
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.ensure(w.space)
	return w
}

func (w *world) open() *Store {
	w.t.Helper()
	s, err := Open(w.t.Context(), w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func newTenant(t *testing.T) tenant.ID {
	t.Helper()
	return tenant.FromUUID(uuid.New())
}

func (w *world) ensure(sp Space) {
	w.t.Helper()
	if err := w.store.Ensure(w.t.Context(), sp); err != nil {
		w.t.Fatalf("ensure: %v", err)
	}
}

// passage makes a point of a new document.
func passage(t tenant.ID, dense []float32, text string, changes ...func(*Point)) Point {
	p := Point{
		Labels: Labels{DocumentType: "pdf"}, DocumentID: uuid.New(), ChunkID: uuid.New(), Dense: dense, Sparse: EncodeDocument(text),
	}
	for _, change := range changes {
		change(&p)
	}
	p.ID = PointID(t, p.DocumentID, 0)
	return p
}

func (w *world) put(t tenant.ID, points ...Point) {
	w.t.Helper()
	if err := w.store.Upsert(w.t.Context(), t, w.space, points); err != nil {
		w.t.Fatalf("upsert: %v", err)
	}
}

func (w *world) search(t tenant.ID, q Query) []Hit {
	w.t.Helper()
	hits, err := w.store.Search(w.t.Context(), t, w.space, q)
	if err != nil {
		w.t.Fatalf("search: %v", err)
	}
	return hits
}

func (w *world) count(t tenant.ID, f Filter) int {
	w.t.Helper()
	n, err := w.store.Count(w.t.Context(), t, w.space, f)
	if err != nil {
		w.t.Fatalf("count: %v", err)
	}
	return n
}

// expect compares hits with points and scores, in order.
func expect(t *testing.T, hits []Hit, points []Point, scores []float64) {
	t.Helper()
	if len(hits) != len(points) {
		t.Fatalf("%d hits, want %d: %v", len(hits), len(points), hits)
	}
	for i, hit := range hits {
		if hit.ChunkID != points[i].ChunkID || hit.DocumentID != points[i].DocumentID {
			t.Errorf("hit %d is %v, want document %v", i, hit, points[i].DocumentID)
		}
		if math.Abs(hit.Score-scores[i]) > 1e-4 {
			t.Errorf("hit %d scores %v, want %v", i, hit.Score, scores[i])
		}
	}
}

func expectFault(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if f := fault.Of(err); f == nil || f.Kind != kind || f.Code != code {
		t.Errorf("error is %v, want the fault %s of kind %v", err, code, kind)
	}
}

func expectNoTenant(t *testing.T, doing string, err error) {
	t.Helper()
	if !isNoTenant(err) {
		t.Errorf("%s without a tenant returns %v", doing, err)
	}
}

func (w *world) testReady() {
	t := w.t
	if err := w.store.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func (w *world) testEnsureAgain() {
	t := w.t
	w.put(w.a, passage(w.a, []float32{1, 0, 0}, "text"))
	w.ensure(w.space)
	if got := w.count(w.a, Filter{}); got != 1 {
		t.Errorf("%d points after ensuring again, want 1", got)
	}
	name, err := w.store.collection(w.space)
	if err != nil {
		t.Fatal(err)
	}
	info, err := w.store.describe(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	schema := info.GetPayloadSchema()
	for _, field := range []string{
		fieldTenant, fieldDocument, fieldIndexing, fieldProject, fieldDocumentType, fieldTags, fieldPublic, fieldOwner,
	} {
		if schema[field] == nil {
			t.Errorf("there is no index of %s", field)
		}
	}
	if !schema[fieldTenant].GetParams().GetKeywordIndexParams().GetIsTenant() {
		t.Errorf("the tenant's index is not declared as such: %v", schema[fieldTenant])
	}
}

func (w *world) testEnsureAtOnce() {
	t := w.t
	space := Space{Model: "Text/Embedding 004", Dimension: 5}
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = w.store.Ensure(t.Context(), space) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func (w *world) testEnsureMismatch() {
	t := w.t
	space := Space{Model: "other", Dimension: 4}
	name, err := w.store.collection(space)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.store.client.Collections().Create(t.Context(), &qdrant.CreateCollection{
		CollectionName: name,
		VectorsConfig: qdrant.NewVectorsConfigMap(map[string]*qdrant.VectorParams{
			vectorDense: {Size: 5, Distance: qdrant.Distance_Cosine},
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	expectFault(t, w.store.Ensure(t.Context(), space), fault.Conflict, "vector.space-mismatch")
}

func (w *world) testUpsertTwice() {
	t := w.t
	p := passage(w.a, []float32{1, 0, 0}, "old words")
	w.put(w.a, p)
	p.ChunkID, p.Dense, p.Sparse, p.DocumentType = uuid.New(), []float32{0, 1, 0}, EncodeDocument("fresh text"), "docx"
	w.put(w.a, p)
	if got := w.count(w.a, Filter{}); got != 1 {
		t.Fatalf("%d points, want 1", got)
	}
	if got := w.count(w.a, Filter{DocumentTypes: []string{"pdf"}}); got != 0 {
		t.Errorf("the old type still counts %d", got)
	}
	expect(t, w.search(w.a, Query{Mode: Semantic, Dense: []float32{0, 1, 0}}), []Point{p}, []float64{1})
	if hits := w.search(w.a, Query{Mode: Keyword, Sparse: EncodeQuery("old")}); len(hits) != 0 {
		t.Errorf("the old words are still found: %v", hits)
	}
}

func (w *world) testUpsertMany() {
	t := w.t
	const n = 700
	w.space = Space{Model: "large", Dimension: 1536}
	w.ensure(w.space)
	document := uuid.New()
	points := make([]Point, n)
	for i := range points {
		dense := make([]float32, w.space.Dimension)
		dense[i] = 1
		points[i] = Point{ID: PointID(w.a, document, i), DocumentID: document, ChunkID: uuid.New(), Dense: dense}
	}
	w.put(w.a, points...)
	if got := w.count(w.a, Filter{DocumentIDs: []uuid.UUID{document}}); got != n {
		t.Fatalf("%d points, want %d", got, n)
	}
	for _, i := range []int{0, n / 2, n - 1} {
		expect(t, w.search(w.a, Query{Mode: Semantic, Dense: points[i].Dense, Limit: 1}), points[i:i+1], []float64{1})
	}
}

func (w *world) testTenantsApart() {
	t := w.t
	project := uuid.New()
	tags := func(p *Point) { p.Tags, p.ProjectID, p.Public = []string{"shared"}, &project, true }
	mine := passage(w.a, []float32{1, 0, 0}, "the confidential merger plan", tags)
	theirs := passage(w.b, []float32{1, 0, 0}, "the confidential merger plan", tags)
	w.put(w.a, mine)
	w.put(w.b, theirs)
	filters := map[string]Filter{
		"without a filter":           {},
		"naming the other's type":    {DocumentTypes: []string{"pdf"}},
		"naming the other's tag":     {Tags: []string{"shared"}},
		"naming the other's project": {ProjectIDs: []uuid.UUID{project}},
		"seeing what is public":      {Visible: &Visibility{}},
		"seeing the other's project": {Visible: &Visibility{Projects: []uuid.UUID{project}}},
	}
	for _, mode := range []Mode{Hybrid, Semantic, Keyword, ""} {
		query := Query{Mode: mode, Dense: []float32{1, 0, 0}, Sparse: EncodeQuery("confidential merger"), Limit: 100}
		for name, filter := range filters {
			query.Filter = filter
			for asker, own := range map[tenant.ID]Point{w.a: mine, w.b: theirs} {
				hits := w.search(asker, query)
				if len(hits) != 1 || hits[0].ChunkID != own.ChunkID {
					t.Errorf("mode %q %s: found %v, want only %v", mode, name, hits, own.ChunkID)
				}
				if got := w.count(asker, filter); got != 1 {
					t.Errorf("%s: counted %d, want 1", name, got)
				}
			}
		}
		query.Filter = Filter{DocumentIDs: []uuid.UUID{theirs.DocumentID}}
		if hits := w.search(w.a, query); len(hits) != 0 {
			t.Errorf("mode %q: naming the other's document finds %v", mode, hits)
		}
		if hits := w.search(newTenant(t), query); len(hits) != 0 {
			t.Errorf("mode %q: a stranger finds %v", mode, hits)
		}
	}
	// Deleting the other's document does nothing to it.
	if err := w.store.DeleteDocument(t.Context(), w.a, theirs.DocumentID); err != nil {
		t.Fatal(err)
	}
	if got := w.count(w.b, Filter{}); got != 1 {
		t.Errorf("a tenant deleted the document of another: %d left", got)
	}
	if err := w.store.Label(t.Context(), w.a, theirs.DocumentID, Labels{}); err != nil {
		t.Fatal(err)
	}
	if got := w.count(w.b, Filter{Tags: []string{"shared"}}); got != 1 {
		t.Error("a tenant changed the labels of another's document")
	}
	if n, err := w.store.CountDocument(t.Context(), w.a, theirs.DocumentID); n != 0 || err != nil {
		t.Errorf("a tenant counts %d points of another's document, %v", n, err)
	}
}

func (w *world) testForeignPoint() {
	t := w.t
	theirs := passage(w.b, []float32{1, 0, 0}, "theirs")
	w.put(w.b, theirs)
	mine := passage(w.a, []float32{0, 1, 0}, "mine")
	mine.ID = theirs.ID
	other := passage(w.a, []float32{0, 1, 0}, "mine too")
	w.put(w.a, mine, other)
	expect(t, w.search(w.b, Query{Mode: Semantic, Dense: []float32{1, 0, 0}}), []Point{theirs}, []float64{1})
	expect(t, w.search(w.a, Query{Mode: Semantic, Dense: []float32{0, 1, 0}}), []Point{other}, []float64{1})
}

func (w *world) testNoTenant() {
	t := w.t
	var none tenant.ID
	ctx := t.Context()
	w.put(w.a, passage(w.a, []float32{1, 0, 0}, "text"))
	expectNoTenant(t, "upsert", w.store.Upsert(ctx, none, w.space, []Point{passage(w.a, []float32{1, 0, 0}, "text")}))
	expectNoTenant(t, "upsert of nothing", w.store.Upsert(ctx, none, w.space, nil))
	for _, mode := range []Mode{Hybrid, Semantic, Keyword} {
		hits, err := w.store.Search(ctx, none, w.space, Query{Mode: mode, Dense: []float32{1, 0, 0}, Sparse: EncodeQuery("text")})
		expectNoTenant(t, "search", err)
		if len(hits) > 0 {
			t.Errorf("search without a tenant finds %v", hits)
		}
	}
	_, err := w.store.Count(ctx, none, w.space, Filter{})
	expectNoTenant(t, "count", err)
	expectNoTenant(t, "delete", w.store.DeleteDocument(ctx, none, uuid.New()))
	expectNoTenant(t, "label", w.store.Label(ctx, none, uuid.New(), Labels{}))
	_, err = w.store.CountDocument(ctx, none, uuid.New())
	expectNoTenant(t, "count of a document", err)
	if got := w.count(w.a, Filter{}); got != 1 {
		t.Errorf("%d points, want 1", got)
	}
}

func (w *world) testFilters() {
	t := w.t
	x, y := uuid.New(), uuid.New()
	in := func(project uuid.UUID) func(*Point) { return func(p *Point) { p.ProjectID = &project } }
	tagged := func(tags ...string) func(*Point) { return func(p *Point) { p.Tags = tags } }
	typed := func(kind string) func(*Point) { return func(p *Point) { p.DocumentType = kind } }
	vector := []float32{1, 0, 0}
	points := []Point{
		passage(w.a, vector, "word", in(x), tagged("red", "blue"), typed("pdf")),
		passage(w.a, vector, "word", in(y), tagged("blue"), typed("docx")),
		passage(w.a, vector, "word", tagged(), typed("pdf")),
	}
	w.put(w.a, points...)
	tests := []struct {
		name   string
		filter Filter
		want   []int
	}{
		{"nothing", Filter{}, []int{0, 1, 2}},
		{"a document", Filter{DocumentIDs: []uuid.UUID{points[1].DocumentID}}, []int{1}},
		{"several documents", Filter{DocumentIDs: []uuid.UUID{points[1].DocumentID, points[2].DocumentID, uuid.New()}}, []int{1, 2}},
		{"a project", Filter{ProjectIDs: []uuid.UUID{x}}, []int{0}},
		{"several projects", Filter{ProjectIDs: []uuid.UUID{x, y}}, []int{0, 1}},
		{"a type", Filter{DocumentTypes: []string{"pdf"}}, []int{0, 2}},
		{"a tag of several", Filter{Tags: []string{"blue"}}, []int{0, 1}},
		{"either tag", Filter{Tags: []string{"red", "green"}}, []int{0}},
		{"two fields at once", Filter{DocumentTypes: []string{"pdf"}, Tags: []string{"blue"}}, []int{0}},
		{"what nothing has", Filter{DocumentTypes: []string{"xlsx"}}, nil},
	}
	for _, test := range tests {
		for _, mode := range []Mode{Hybrid, Semantic, Keyword} {
			hits := w.search(w.a, Query{Mode: mode, Dense: vector, Sparse: EncodeQuery("word"), Filter: test.filter})
			expectSet(t, fmt.Sprintf("%s, %s", test.name, mode), hits, points, test.want)
		}
		if got := w.count(w.a, test.filter); got != len(test.want) {
			t.Errorf("%s: counted %d, want %d", test.name, got, len(test.want))
		}
	}
}

// expectSet compares hits with points whatever their order.
func expectSet(t *testing.T, name string, hits []Hit, points []Point, want []int) {
	t.Helper()
	var got []int
	for _, hit := range hits {
		got = append(got, slices.IndexFunc(points, func(p Point) bool { return p.ChunkID == hit.ChunkID }))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: found %v, want %v", name, got, want)
	}
}

func (w *world) testVisibility() {
	t := w.t
	x, y := uuid.New(), uuid.New()
	vector := []float32{1, 0, 0}
	point := func(project *uuid.UUID, public bool) Point {
		return passage(w.a, vector, "word", func(p *Point) { p.ProjectID, p.Public = project, public })
	}
	points := []Point{point(nil, false), point(&x, false), point(&y, false), point(&y, true)}
	w.put(w.a, points...)
	tests := []struct {
		name   string
		filter Filter
		want   []int
	}{
		{"without a restriction", Filter{}, []int{0, 1, 2, 3}},
		{"a member of no project", Filter{Visible: &Visibility{}}, []int{0, 3}},
		{"a member of one project", Filter{Visible: &Visibility{Projects: []uuid.UUID{x}}}, []int{0, 1, 3}},
		{"a member of both", Filter{Visible: &Visibility{Projects: []uuid.UUID{x, y}}}, []int{0, 1, 2, 3}},
		{"who asks for a project of others", Filter{ProjectIDs: []uuid.UUID{y}, Visible: &Visibility{Projects: []uuid.UUID{x}}}, []int{3}},
	}
	for _, test := range tests {
		for _, mode := range []Mode{Hybrid, Semantic, Keyword} {
			hits := w.search(w.a, Query{Mode: mode, Dense: vector, Sparse: EncodeQuery("word"), Filter: test.filter})
			expectSet(t, fmt.Sprintf("%s, %s", test.name, mode), hits, points, test.want)
		}
	}
}

func (w *world) testDimension() {
	t := w.t
	long := passage(w.a, []float32{1, 0, 0, 0}, "text")
	expectFault(t, w.store.Upsert(t.Context(), w.a, w.space, []Point{long}), fault.Invalid, "vector.dimension")
	nan := passage(w.a, []float32{1, 0, float32(math.NaN())}, "text")
	expectFault(t, w.store.Upsert(t.Context(), w.a, w.space, []Point{nan}), fault.Invalid, "vector.not-finite")
	for _, mode := range []Mode{Hybrid, Semantic} {
		_, err := w.store.Search(t.Context(), w.a, w.space, Query{Mode: mode, Dense: []float32{1}})
		expectFault(t, err, fault.Invalid, "vector.dimension")
	}
	// The server refuses as well what this package would have let through.
	name, err := w.store.collection(w.space)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := long.encode(w.a, Space{Model: "model", Dimension: 4})
	if err != nil {
		t.Fatal(err)
	}
	err = w.store.upsert(t.Context(), &qdrant.UpsertPoints{
		CollectionName: name, Wait: new(true), Points: []*qdrant.PointStruct{raw},
	})
	expectFault(t, err, fault.Invalid, "vector.rejected")
	if got := w.count(w.a, Filter{}); got != 0 {
		t.Errorf("%d points were stored", got)
	}
}

func (w *world) testMissingSpace() {
	t := w.t
	missing := Space{Model: "never-ensured", Dimension: 3}
	_, err := w.store.Search(t.Context(), w.a, missing, Query{Mode: Semantic, Dense: []float32{1, 0, 0}})
	expectFault(t, err, fault.NotFound, "vector.space-missing")
	_, err = w.store.Count(t.Context(), w.a, missing, Filter{})
	expectFault(t, err, fault.NotFound, "vector.space-missing")
	err = w.store.Upsert(t.Context(), w.a, missing, []Point{passage(w.a, []float32{1, 0, 0}, "text")})
	expectFault(t, err, fault.NotFound, "vector.space-missing")
}

func (w *world) testSpacesApart() {
	t := w.t
	w.put(w.a, passage(w.a, []float32{1, 0, 0}, "text"))
	other := Space{Model: "Model", Dimension: 3}
	w.ensure(other)
	if n, err := w.store.Count(t.Context(), w.a, other, Filter{}); err != nil || n != 0 {
		t.Errorf("the other space counts %d, %v", n, err)
	}
}

func (w *world) testCancelled() {
	t := w.t
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.store.Count(ctx, w.a, w.space, Filter{})
	if !isCancelled(err) {
		t.Errorf("error is %v, want the context's", err)
	}
}
