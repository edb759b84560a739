package vector

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

func (w *world) testDeleteDocument() {
	t := w.t
	document := uuid.New()
	var points []Point
	for i := range 5 {
		points = append(points, Point{
			ID: PointID(w.a, document, i), DocumentID: document, ChunkID: uuid.New(), Dense: []float32{1, 0, 0},
			Sparse: EncodeDocument("secret recipe"),
		})
	}
	other := passage(w.a, []float32{0, 1, 0}, "another document")
	w.put(w.a, append(points, other)...)
	for range 2 {
		if err := w.store.DeleteDocument(t.Context(), w.a, document); err != nil {
			t.Fatal(err)
		}
		if got := w.count(w.a, Filter{DocumentIDs: []uuid.UUID{document}}); got != 0 {
			t.Fatalf("%d points of the document are left", got)
		}
	}
	if hits := w.search(w.a, Query{Mode: Keyword, Sparse: EncodeQuery("recipe")}); len(hits) != 0 {
		t.Errorf("deleted text is still found: %v", hits)
	}
	expect(t, w.search(w.a, Query{Mode: Semantic, Dense: []float32{0, 1, 0}}), []Point{other}, []float64{1})
}

func (w *world) testDeleteEverywhere() {
	t := w.t
	expectFault(t, w.store.DeleteDocument(t.Context(), w.a, uuid.Nil), fault.Invalid, "vector.id")
	document, spaces := uuid.New(), []Space{w.space, {Model: "earlier", Dimension: 2}}
	w.ensure(spaces[1])
	for _, sp := range spaces {
		for _, owner := range []tenant.ID{w.a, w.b} {
			p := Point{ID: uuid.New(), DocumentID: document, ChunkID: uuid.New(), Dense: make([]float32, sp.Dimension)}
			p.Dense[0] = 1
			if err := w.store.Upsert(t.Context(), owner, sp, []Point{p}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []int{2, 0, 0} {
		if n, err := w.store.CountDocument(t.Context(), w.a, document); n != want || err != nil {
			t.Errorf("%d points in all spaces, want %d (%v)", n, want, err)
		}
		if err := w.store.DeleteDocument(t.Context(), w.a, document); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := w.store.CountDocument(t.Context(), w.b, document); n != 2 || err != nil {
		t.Errorf("%d points of another tenant are left, %v", n, err)
	}
}

func (w *world) testDeleteIndexing() {
	t := w.t
	document, old, current := uuid.New(), uuid.New(), uuid.New()
	var points []Point
	for _, indexing := range []uuid.UUID{old, old, uuid.Nil, current} {
		points = append(points, Point{
			ID: uuid.New(), DocumentID: document, ChunkID: uuid.New(), IndexingID: indexing, Dense: []float32{1, 0, 0},
		})
	}
	w.put(w.a, points...)
	for _, step := range []struct {
		remove []uuid.UUID
		want   []int
	}{
		{[]uuid.UUID{uuid.New()}, []int{0, 1, 2, 3}},
		{[]uuid.UUID{old}, []int{2, 3}},
		{[]uuid.UUID{old, uuid.Nil}, []int{3}},
	} {
		if err := w.store.DeleteDocument(t.Context(), w.a, document, step.remove...); err != nil {
			t.Fatal(err)
		}
		hits := w.search(w.a, Query{Mode: Semantic, Dense: []float32{1, 0, 0}})
		expectSet(t, fmt.Sprintf("after removing %v", step.remove), hits, points, step.want)
	}
}

func (w *world) testLabel() {
	t := w.t
	x, y := uuid.New(), uuid.New()
	p := passage(w.a, []float32{1, 0, 0}, "word", func(p *Point) { p.ProjectID, p.Tags = &x, []string{"red"} })
	other := passage(w.a, []float32{1, 0, 0}, "word", func(p *Point) { p.ProjectID, p.Tags = &x, []string{"red"} })
	w.put(w.a, p, other)
	for _, step := range []struct {
		name    string
		labels  Labels
		finds   []Filter
		ignores []Filter
	}{
		{
			"moved to another project",
			Labels{ProjectID: &y, DocumentType: "docx", Tags: []string{"blue", "green"}},
			[]Filter{
				{ProjectIDs: []uuid.UUID{y}, DocumentTypes: []string{"docx"}},
				{Tags: []string{"green"}},
				{Visible: &Visibility{Projects: []uuid.UUID{y}}},
			},
			[]Filter{
				{ProjectIDs: []uuid.UUID{x}},
				{DocumentTypes: []string{"pdf"}},
				{Tags: []string{"red"}},
				{Visible: &Visibility{}},
				{Visible: &Visibility{Projects: []uuid.UUID{x}}},
			},
		},
		{
			"made public",
			Labels{ProjectID: &y, Public: true},
			[]Filter{{Visible: &Visibility{}}, {ProjectIDs: []uuid.UUID{y}}},
			[]Filter{{Tags: []string{"green"}}, {DocumentTypes: []string{"docx"}}},
		},
		{
			"given to the organization",
			Labels{},
			[]Filter{{Visible: &Visibility{}}, {}},
			[]Filter{{ProjectIDs: []uuid.UUID{y}}},
		},
	} {
		if err := w.store.Label(t.Context(), w.a, p.DocumentID, step.labels); err != nil {
			t.Fatal(err)
		}
		finds := func(f Filter) bool {
			f.DocumentIDs = []uuid.UUID{p.DocumentID}
			hits := w.search(w.a, Query{Dense: []float32{1, 0, 0}, Sparse: EncodeQuery("word"), Filter: f})
			return len(hits) == 1 && hits[0].ChunkID == p.ChunkID
		}
		for _, f := range step.finds {
			if !finds(f) {
				t.Errorf("%s: not found by %+v", step.name, f)
			}
		}
		for _, f := range step.ignores {
			if finds(f) {
				t.Errorf("%s: found by %+v", step.name, f)
			}
		}
	}
	if got := w.count(w.a, Filter{ProjectIDs: []uuid.UUID{x}, Tags: []string{"red"}}); got != 1 {
		t.Error("the labels of another document were changed")
	}
}
