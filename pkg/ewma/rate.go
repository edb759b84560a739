// Package ewma counts how often something happens of late, by an exponentially weighted moving average.
package ewma

import (
	"math"
	"time"
)

// Rate is how often something happens in a second, of late. What happened weighs half as much after HalfLife. It is not safe for
// concurrent use.
type Rate struct {
	// HalfLife must be positive.
	HalfLife time.Duration
	// Every is after what time the events that were added are taken into the average, all at once; zero is with every question.
	Every time.Duration

	perSecond float64
	counted   time.Time
	added     int
}

// Add says that something happened n times.
func (r *Rate) Add(n int) { r.added += n }

// PerSecond returns the rate. Now must not go backwards.
func (r *Rate) PerSecond(now time.Time) float64 {
	if passed := now.Sub(r.counted); passed > 0 && passed >= r.Every {
		kept := math.Exp2(-passed.Seconds() / r.HalfLife.Seconds())
		r.perSecond = r.perSecond*kept + float64(r.added)/passed.Seconds()*(1-kept)
		r.added, r.counted = 0, now
	}
	return r.perSecond
}
