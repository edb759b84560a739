// Package stat reduces what was measured to the few figures that are reported.
package stat

import (
	"math"
	"slices"
	"time"
)

// Percentile returns the smallest duration that at least the share p of all durations does not exceed (the nearest rank): no
// figure is made up between two measured ones. The durations need no order and keep theirs. Without any it is zero; p is
// taken as the nearest of 0 and 1 when it lies outside.
func Percentile(durations []time.Duration, p float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Median returns the middle of the values, or the mean of the two in the middle. The values need no order and keep theirs.
// Without any it is zero.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Ratio compares two things that were measured in the same rounds.
type Ratio struct {
	// Median is the median of the rounds' ratios. A round is compared with itself only, so what disturbs the machine for a
	// while disturbs both sides of the ratio.
	Median float64 `json:"median"`
	// Least and Most are the ratios of the rounds furthest apart.
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
}

// Compare returns the ratio of each value to the floor of the same round. Rounds whose floor is zero say nothing and do not
// count, nor do rounds that only one side has; without any round left it is the zero Ratio.
func Compare(values, floors []float64) Ratio {
	var ratios []float64
	for i := range min(len(values), len(floors)) {
		if floors[i] != 0 {
			ratios = append(ratios, values[i]/floors[i])
		}
	}
	if len(ratios) == 0 {
		return Ratio{}
	}
	return Ratio{Median: Median(ratios), Least: slices.Min(ratios), Most: slices.Max(ratios)}
}
