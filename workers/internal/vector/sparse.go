package vector

import (
	"hash/fnv"
	"maps"
	"slices"

	"github.com/tarento/copilot/pkg/fault"
)

// The parameters of BM25. The first two are the customary ones; the average length is a constant, because a text is
// encoded long before the average is known, and because it only scales how much longer texts are held back. It is the
// length of a typical passage in words, and the default of Qdrant's own BM25 encoder.
const (
	saturation    = 1.2 // k1
	lengthPenalty = 0.75
	averageLength = 256
)

// Sparse is a sparse vector: the weights of words. Indices are unique and ascend.
type Sparse struct {
	Indices []uint32
	Values  []float32
}

// IsEmpty reports whether there is no word in it.
func (s Sparse) IsEmpty() bool { return len(s.Indices) == 0 }

func (s Sparse) check() error {
	if len(s.Indices) != len(s.Values) {
		return fault.New(fault.Invalid, "vector.sparse", "The sparse vector has %d indices but %d values.",
			len(s.Indices), len(s.Values))
	}
	return nil
}

// EncodeDocument turns a passage into the weights its words have in it.
//
// It is the part of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) that
// depends on the passage alone: with tf the number of times a word occurs, len the number of words and avg the average
// length, a word weighs tf*(k1+1) / (tf + k1*(1-b+b*len/avg)). The other part, how rare a word is, Qdrant multiplies in
// when it searches (the IDF modifier of a sparse vector), so the scalar product with EncodeQuery is the BM25 score.
//
// A word's index is the FNV-1a hash of its stem. Two words can share an index, one pair in 2^32 does, and then they count
// as one.
func EncodeDocument(text string) Sparse {
	counts := make(map[uint32]int)
	length := 0
	for word := range words(text) {
		counts[index(word)]++
		length++
	}
	scale := saturation * (1 - lengthPenalty + lengthPenalty*float64(length)/averageLength)
	return collect(counts, func(count int) float32 {
		tf := float64(count)
		return float32(tf * (saturation + 1) / (tf + scale))
	})
}

// EncodeQuery turns a query into its words, each of weight one however often it occurs.
func EncodeQuery(text string) Sparse {
	counts := make(map[uint32]int)
	for word := range words(text) {
		counts[index(word)]++
	}
	return collect(counts, func(int) float32 { return 1 })
}

func collect(counts map[uint32]int, weight func(int) float32) Sparse {
	out := Sparse{Indices: slices.Sorted(maps.Keys(counts)), Values: make([]float32, len(counts))}
	for i, at := range out.Indices {
		out.Values[i] = weight(counts[at])
	}
	return out
}

func index(word string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(word)) // a hash never fails
	return h.Sum32()
}
