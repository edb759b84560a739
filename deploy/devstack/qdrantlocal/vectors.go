package qdrantlocal

import (
	"math"
	"slices"
)

// pageVectors is how many vectors of one name lie in one contiguous piece of memory. Pages keep growth from copying
// everything there is.
const pageVectors = 1024

// denseField holds the dense vectors of one name, by slot.
type denseField struct {
	dim    int
	cosine bool
	pages  [][]float32
	has    []bool
}

// set stores v, which has been normalized where the distance wants it.
func (d *denseField) set(slot uint32, v []float32) {
	for int(slot) >= len(d.pages)*pageVectors {
		d.pages = append(d.pages, make([]float32, pageVectors*d.dim))
	}
	for int(slot) >= len(d.has) {
		d.has = append(d.has, false)
	}
	copy(d.at(slot), v)
	d.has[slot] = true
}

func (d *denseField) clear(slot uint32) {
	if int(slot) < len(d.has) {
		d.has[slot] = false
	}
}

func (d *denseField) present(slot uint32) bool { return int(slot) < len(d.has) && d.has[slot] }

// at returns the memory of a slot's vector. It is valid until the collection's lock is given up.
func (d *denseField) at(slot uint32) []float32 {
	page := d.pages[slot/pageVectors]
	start := int(slot%pageVectors) * d.dim
	return page[start : start+d.dim : start+d.dim]
}

// normalized returns v scaled to length one; a zero vector stays as it is.
func normalized(v []float32) []float32 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	out := slices.Clone(v)
	if sum == 0 {
		return out
	}
	scale := 1 / math.Sqrt(sum)
	for i, x := range v {
		out[i] = float32(float64(x) * scale)
	}
	return out
}

// dot is the hot loop of every dense search. Four sums let the additions overlap.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	for len(a) >= 8 && len(b) >= 8 {
		x, y := a[:8:8], b[:8:8]
		s0 += x[0]*y[0] + x[4]*y[4]
		s1 += x[1]*y[1] + x[5]*y[5]
		s2 += x[2]*y[2] + x[6]*y[6]
		s3 += x[3]*y[3] + x[7]*y[7]
		a, b = a[8:], b[8:]
	}
	for i := range a {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

// sparseVector has its indices in ascending order, without doubles. It is never changed once it is stored.
type sparseVector struct {
	indices []uint32
	values  []float32
}

// newSparseVector checks and sorts.
func newSparseVector(indices []uint32, values []float32) (sparseVector, error) {
	if len(indices) != len(values) {
		return sparseVector{}, errInput("sparse vector: %d indices but %d values", len(indices), len(values))
	}
	if err := checkFinite(values); err != nil {
		return sparseVector{}, err
	}
	order := make([]int, len(indices))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		if indices[i] < indices[j] {
			return -1
		}
		return 1
	})
	v := sparseVector{indices: make([]uint32, len(indices)), values: make([]float32, len(values))}
	for to, from := range order {
		v.indices[to], v.values[to] = indices[from], values[from]
		if to > 0 && v.indices[to] == v.indices[to-1] {
			return sparseVector{}, errInput("sparse vector: index %d is given twice", v.indices[to])
		}
	}
	return v, nil
}

// dot returns the product over the indices both have, and whether there is any.
func (v sparseVector) dot(query sparseVector) (score float32, overlap bool) {
	doc, values := v.indices, v.values
	for i, index := range query.indices {
		at, found := slices.BinarySearch(doc, index)
		if found {
			score += query.values[i] * values[at]
			overlap = true
		}
		doc, values = doc[at:], values[at:]
	}
	return score, overlap
}

// sparseField holds the sparse vectors of one name, by slot, and how many of them have each index.
type sparseField struct {
	idf     bool
	vectors []sparseVector
	has     []bool
	count   int
	df      map[uint32]int
}

func (f *sparseField) set(slot uint32, v sparseVector) {
	f.clear(slot)
	for int(slot) >= len(f.vectors) {
		f.vectors = append(f.vectors, sparseVector{})
		f.has = append(f.has, false)
	}
	f.vectors[slot], f.has[slot] = v, true
	f.count++
	for _, index := range v.indices {
		f.df[index]++
	}
}

func (f *sparseField) clear(slot uint32) {
	if !f.present(slot) {
		return
	}
	for _, index := range f.vectors[slot].indices {
		f.df[index]--
		if f.df[index] == 0 {
			delete(f.df, index)
		}
	}
	f.vectors[slot], f.has[slot] = sparseVector{}, false
	f.count--
}

func (f *sparseField) present(slot uint32) bool { return int(slot) < len(f.has) && f.has[slot] }

// weighted returns the query with Qdrant's IDF applied, if this field has that modifier.
func (f *sparseField) weighted(query sparseVector) sparseVector {
	if !f.idf {
		return query
	}
	out := sparseVector{indices: query.indices, values: make([]float32, len(query.values))}
	n := float64(f.count)
	for i, index := range query.indices {
		df := float64(f.df[index])
		out.values[i] = query.values[i] * float32(math.Log((n-df+0.5)/(df+0.5)+1))
	}
	return out
}

// checkFinite refuses NaN and infinities: one such value would put every ranking it takes part in out of order.
func checkFinite(values []float32) error {
	for i, x := range values {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return errInput("vector: value %d is not a finite number", i)
		}
	}
	return nil
}
