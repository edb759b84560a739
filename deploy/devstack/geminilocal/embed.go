package geminilocal

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
)

const (
	defaultDimension = 768
	maxDimension     = 3072
	maxBatch         = 100
)

// embedder turns texts into vectors. It is not safe for concurrent use; a request has its own.
type embedder struct {
	seen [2048]uint32 // open addressing, hash 0 means free
	used int
	sum  []float32
}

// Weights of the three kinds of features. Words carry the meaning, pairs reward the order of words, letter groups let
// "configure" meet "configuration".
const (
	pairWeight  = 0.5
	groupWeight = 0.2
	groupSize   = 4
)

// embed returns the unit vector of text. The slice is reused by the next call. A text without a single term still has a
// vector, that of its bytes.
func (e *embedder) embed(text string, dimension int) []float32 {
	clear(e.seen[:])
	e.used = 0
	if cap(e.sum) < dimension {
		e.sum = make([]float32, dimension)
	}
	e.sum = e.sum[:dimension]
	clear(e.sum)

	previous := uint32(0)
	eachTerm(text, func(term []byte) {
		h := hash(0, term)
		// Long words are rarer and say more, which is as close to an inverse document frequency as one text allows.
		e.add(h, 0.6+0.1*float32(min(len(term), 9)))
		if previous != 0 {
			e.add(mix(previous*31+h), pairWeight)
		}
		previous = h
		for i := 0; len(term) > groupSize && i+groupSize <= len(term); i++ {
			e.add(hash(1, term[i:i+groupSize]), groupWeight)
		}
	})
	if previous == 0 {
		e.add(hash(2, []byte(text)), 1)
	}

	var square float64
	for _, v := range e.sum {
		square += float64(v) * float64(v)
	}
	if square == 0 { // two features of opposite sign that met in one place
		e.sum[0], square = 1, 1
	}
	scale := float32(1 / math.Sqrt(square))
	for i := range e.sum {
		e.sum[i] *= scale
	}
	return e.sum
}

// add puts one feature into the sum, with a sign taken from its hash so that collisions cancel out on average. Only the
// first occurrence of a feature counts in full: a passage that repeats a word is not more about it than a short one.
func (e *embedder) add(h uint32, weight float32) {
	if h == 0 {
		h = 1
	}
	if e.used < len(e.seen)*3/4 {
		for i := h % uint32(len(e.seen)); ; i = (i + 1) % uint32(len(e.seen)) {
			if e.seen[i] == h {
				weight *= 0.25
				break
			}
			if e.seen[i] == 0 {
				e.seen[i] = h
				e.used++
				break
			}
		}
	}
	if h&(1<<31) != 0 {
		weight = -weight
	}
	e.sum[mix(h)%uint32(len(e.sum))] += weight
}

// hash is FNV-1a over a kind and the bytes, finished by mix because the low bits of FNV are weak.
func hash(kind byte, b []byte) uint32 {
	h := (uint32(2166136261) ^ uint32(kind)) * 16777619
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return mix(h)
}

func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x7feb352d
	h ^= h >> 15
	h *= 0x846ca68b
	return h ^ h>>16
}

// appendVector writes v as a JSON array with six decimals. Most places of a short text's vector are zero, and that is
// what keeps both sides of the wire quick.
func appendVector(b []byte, v []float32) []byte {
	b = append(b, '[')
	for i, f := range v {
		if i > 0 {
			b = append(b, ',')
		}
		micro := int64(math.Round(float64(f) * 1e6))
		if micro == 0 {
			b = append(b, '0')
			continue
		}
		if micro < 0 {
			b = append(b, '-')
			micro = -micro
		}
		b = strconv.AppendInt(b, micro/1e6, 10)
		if micro %= 1e6; micro == 0 {
			continue
		}
		b = append(b, '.')
		for unit := int64(1e5); micro > 0; unit /= 10 {
			b = append(b, byte('0'+micro/unit))
			micro %= unit
		}
	}
	return append(b, ']')
}

// embedMany checks and embeds; the vectors are JSON already, and cost is in tokens.
func embedMany(requests []embedRequest) (vectors [][]byte, cost int, failure *apiError) {
	if len(requests) == 0 {
		return nil, 0, invalidf("* BatchEmbedContentsRequest.requests: requests is not specified")
	}
	if len(requests) > maxBatch {
		return nil, 0, invalidf("* BatchEmbedContentsRequest.requests: at most %d requests can be in one batch", maxBatch)
	}
	var e embedder
	for i, r := range requests {
		text := r.Content.text()
		if text == "" {
			return nil, 0, invalidf("* EmbedContentRequest.content: the content of request %d is empty", i)
		}
		dimension := r.OutputDimensionality
		if dimension == 0 {
			dimension = defaultDimension
		}
		if dimension < 0 || dimension > maxDimension {
			return nil, 0, invalidf("* EmbedContentRequest.output_dimensionality: must be between 1 and %d", maxDimension)
		}
		if r.Title != "" {
			text = r.Title + "\n" + text
		}
		vectors = append(vectors, appendVector(make([]byte, 0, 2*dimension+512), e.embed(text, dimension)))
		cost += tokens(text)
	}
	return vectors, cost, nil
}

// batchEmbedContents serves the method of that name.
func batchEmbedContents(w http.ResponseWriter, body []byte) {
	var req batchEmbedRequest
	if err := json.Unmarshal(body, &req); err != nil {
		writeError(w, malformedBody(err))
		return
	}
	vectors, cost, failure := embedMany(req.Requests)
	if failure != nil {
		writeError(w, failure)
		return
	}
	out := []byte(`{"embeddings":[`)
	for i, v := range vectors {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, `{"values":`...), v...), '}')
	}
	out = fmt.Appendf(out, `],"usageMetadata":{"promptTokenCount":%d}}`, cost)
	writeBody(w, http.StatusOK, out)
}

// embedContent serves the method of that name.
func embedContent(w http.ResponseWriter, body []byte) {
	var req embedRequest
	if err := json.Unmarshal(body, &req); err != nil {
		writeError(w, malformedBody(err))
		return
	}
	vectors, cost, failure := embedMany([]embedRequest{req})
	if failure != nil {
		writeError(w, failure)
		return
	}
	writeBody(
		w,
		http.StatusOK,
		fmt.Appendf(nil, `{"embedding":{"values":%s},"usageMetadata":{"promptTokenCount":%d}}`, vectors[0], cost),
	)
}
