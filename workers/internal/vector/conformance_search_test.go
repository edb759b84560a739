package vector

import (
	"math"

	"github.com/tarento/copilot/pkg/fault"
)

func (w *world) testSemantic() {
	t := w.t
	points := []Point{
		passage(w.a, []float32{10, 0, 0}, "x"), passage(w.a, []float32{1, 1, 0}, "x"), passage(w.a, []float32{-1, 0, 0}, "x"),
	}
	w.put(w.a, points...)
	expect(t, w.search(w.a, Query{Mode: Semantic, Dense: []float32{0.5, 0, 0}}), points, []float64{1, math.Sqrt2 / 2, -1})
}

func (w *world) testKeyword() {
	t := w.t
	vector := []float32{1, 0, 0}
	points := []Point{
		passage(w.a, vector, "Invoice, invoices"), passage(w.a, vector, "invoice paid"), passage(w.a, vector, "nothing of the sort"),
	}
	w.put(w.a, points...)
	idf := math.Log((3-2+0.5)/(2+0.5) + 1)
	weight := func(tf, length float64) float64 { return tf * 2.2 / (tf + 1.2*(0.25+0.75*length/256)) }
	hits := w.search(w.a, Query{Mode: Keyword, Sparse: EncodeQuery("Invoices, invoices!")})
	expect(t, hits, points[:2], []float64{idf * weight(2, 2), idf * weight(1, 2)})
	if hits := w.search(w.a, Query{Mode: Keyword, Sparse: EncodeQuery("of the")}); len(hits) != 0 {
		t.Errorf("stop words find %v", hits)
	}
}

func (w *world) testRareWord() {
	t := w.t
	vector := []float32{1, 0, 0}
	var points []Point
	for range 20 {
		points = append(points, passage(w.a, vector, "the quarterly report on sales and revenue of the quarter"))
	}
	rare := passage(w.a, vector, "a short note on the zirconium supplier, found in no report")
	w.put(w.a, append(points, rare)...)
	hits := w.search(w.a, Query{Mode: Keyword, Sparse: EncodeQuery("What does the report say about zirconium?"), Limit: 5})
	if len(hits) != 5 || hits[0].ChunkID != rare.ChunkID {
		t.Errorf("found %v, want %v first of five", hits, rare.ChunkID)
	}
}

func (w *world) testHybrid() {
	t := w.t
	// By meaning: first, second, third. By words: second, third; the first has none of them.
	first := passage(w.a, []float32{1, 0, 0}, "something else")
	second := passage(w.a, []float32{1, 0.2, 0}, "budget, budgets")
	third := passage(w.a, []float32{1, 0.5, 0}, "budget and other things")
	w.put(w.a, first, second, third)
	hits := w.search(w.a, Query{Dense: []float32{1, 0, 0}, Sparse: EncodeQuery("budget")})
	expect(t, hits, []Point{second, third, first}, []float64{1./3 + 1./2, 1./4 + 1./3, 1. / 2})
}

func (w *world) testHybridWithoutWords() {
	t := w.t
	near, far := passage(w.a, []float32{1, 0, 0}, "x"), passage(w.a, []float32{0, 1, 0}, "x")
	far.Sparse = Sparse{}
	w.put(w.a, near, far)
	hits := w.search(w.a, Query{Mode: Hybrid, Dense: []float32{1, 0.1, 0}, Sparse: EncodeQuery("what is it?")})
	expect(t, hits, []Point{near, far}, []float64{1. / 2, 1. / 3})
}

func (w *world) testLimits() {
	t := w.t
	var points []Point
	for i := range 15 {
		points = append(points, passage(w.a, []float32{1, float32(i) * 0.1, 0}, "word"))
	}
	w.put(w.a, points...)
	query := Query{Mode: Semantic, Dense: []float32{1, 0, 0}}
	if hits := w.search(w.a, query); len(hits) != DefaultLimit {
		t.Errorf("%d hits without a limit, want %d", len(hits), DefaultLimit)
	}
	query.Limit = 2
	if hits := w.search(w.a, query); len(hits) != 2 || hits[0].ChunkID != points[0].ChunkID || hits[1].ChunkID != points[1].ChunkID {
		t.Errorf("hits %v, want the first two", hits)
	}
	query.Limit, query.MinScore = 100, 0.9
	hits := w.search(w.a, query)
	if len(hits) == 0 || len(hits) == len(points) {
		t.Errorf("a threshold leaves %d of %d hits", len(hits), len(points))
	}
	for _, hit := range hits {
		if hit.Score < 0.9 {
			t.Errorf("a hit of %v is below the threshold", hit.Score)
		}
	}
	for _, limit := range []int{-1, MaxLimit + 1} {
		_, err := w.store.Search(t.Context(), w.a, w.space, Query{Mode: Semantic, Dense: []float32{1, 0, 0}, Limit: limit})
		expectFault(t, err, fault.Invalid, "vector.limit")
	}
	_, err := w.store.Search(t.Context(), w.a, w.space, Query{Mode: "psychic", Dense: []float32{1, 0, 0}})
	expectFault(t, err, fault.Invalid, "vector.mode")
}
