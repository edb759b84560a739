package stat_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/stat"
)

// upTo returns the durations from 1 to n milliseconds, the largest first.
func upTo(n int) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = time.Duration(n-i) * time.Millisecond
	}
	return all
}

func TestPercentileIsAMeasuredDuration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		"of nothing is zero":                      {nil, 0.5, 0},
		"of one is that one":                      {upTo(1), 0.99, time.Millisecond},
		"in the middle of an even number":         {upTo(4), 0.5, 2 * time.Millisecond},
		"in the middle of an odd number":          {upTo(5), 0.5, 3 * time.Millisecond},
		"the 99th of a hundred":                   {upTo(100), 0.99, 99 * time.Millisecond},
		"the 99th of ten is the slowest":          {upTo(10), 0.99, 10 * time.Millisecond},
		"the 99th of a thousand leaves ten above": {upTo(1000), 0.99, 990 * time.Millisecond},
		"below all is the fastest":                {upTo(10), -1, time.Millisecond},
		"above all is the slowest":                {upTo(10), 2, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(c.of)
			if got := stat.Percentile(c.of, c.p); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if !slices.Equal(before, c.of) {
				t.Error("the durations were put into another order")
			}
		})
	}
}

func TestMedianIsTheMiddle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of   []float64
		want float64
	}{
		"of nothing is zero":         {nil, 0},
		"of one is that one":         {[]float64{7}, 7},
		"of three is the second":     {[]float64{9, 1, 2}, 2},
		"of four lies between two":   {[]float64{4, 1, 3, 2}, 2.5},
		"does not feel the farthest": {[]float64{1, 2, 1e9}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(c.of)
			if got := stat.Median(c.of); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if !slices.Equal(before, c.of) {
				t.Error("the values were put into another order")
			}
		})
	}
}

func TestCompareTakesEachRoundByItself(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values, floors []float64
		want           stat.Ratio
	}{
		"without rounds there is no ratio":           {nil, nil, stat.Ratio{}},
		"one round":                                  {[]float64{50}, []float64{100}, stat.Ratio{Median: 0.5, Least: 0.5, Most: 0.5}},
		"a slow round slows both":                    {[]float64{50, 5, 60}, []float64{100, 10, 100}, stat.Ratio{Median: 0.5, Least: 0.5, Most: 0.6}},
		"a round without a floor does not count":     {[]float64{50, 7}, []float64{100, 0}, stat.Ratio{Median: 0.5, Least: 0.5, Most: 0.5}},
		"a round that one side lacks does not count": {[]float64{50, 7}, []float64{100}, stat.Ratio{Median: 0.5, Least: 0.5, Most: 0.5}},
		"only rounds without a floor":                {[]float64{50}, []float64{0}, stat.Ratio{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := stat.Compare(c.values, c.floors); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
