package qdrantlocal

import (
	"cmp"
	"slices"
)

// scored is a point in a ranking.
type scored struct {
	point *point
	score float32
}

// byScore orders the best first. Equal scores are ordered by id, so that the same search always answers the same.
func byScore(a, b scored) int {
	if c := cmp.Compare(b.score, a.score); c != 0 {
		return c
	}
	return a.point.id.compare(b.point.id)
}

func byID(a, b scored) int { return a.point.id.compare(b.point.id) }

// top keeps the first limit items of an order without sorting all that it sees.
type top struct {
	order func(a, b scored) int
	limit int
	// heap has the last of the kept items at its root.
	heap []scored
}

func newTop(limit int, order func(a, b scored) int) *top {
	return &top{order: order, limit: limit}
}

func (t *top) offer(s scored) {
	switch {
	case t.limit <= 0:
	case len(t.heap) < t.limit:
		t.heap = append(t.heap, s)
		t.up(len(t.heap) - 1)
	case t.order(s, t.heap[0]) < 0:
		t.heap[0] = s
		t.down(0)
	}
}

func (t *top) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if t.order(t.heap[i], t.heap[parent]) <= 0 {
			return
		}
		t.heap[i], t.heap[parent] = t.heap[parent], t.heap[i]
		i = parent
	}
}

func (t *top) down(i int) {
	for {
		last := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(t.heap); child++ {
			if t.order(t.heap[child], t.heap[last]) > 0 {
				last = child
			}
		}
		if last == i {
			return
		}
		t.heap[i], t.heap[last] = t.heap[last], t.heap[i]
		i = last
	}
}

// sorted returns what was kept, in order. The top is used up.
func (t *top) sorted() []scored {
	slices.SortFunc(t.heap, t.order)
	return t.heap
}

// defaultRRFK is Qdrant's k, which counts positions from zero.
const defaultRRFK = 2

// fuse merges rankings by reciprocal rank. Without weights every ranking weighs one.
func fuse(sources [][]scored, k uint32, weights []float32) []scored {
	scores := make(map[pointID]*scored)
	order := make([]*scored, 0)
	for i, source := range sources {
		weight := float32(1)
		if weights != nil {
			weight = weights[i]
		}
		for position, s := range source {
			entry, ok := scores[s.point.id]
			if !ok {
				entry = &scored{point: s.point}
				scores[s.point.id] = entry
				order = append(order, entry)
			}
			if weight > 0 {
				entry.score += 1 / (float32(position+1)/weight + float32(k) - 1)
			}
		}
	}
	out := make([]scored, len(order))
	for i, entry := range order {
		out[i] = *entry
	}
	slices.SortFunc(out, byScore)
	return out
}
