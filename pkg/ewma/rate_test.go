package ewma_test

import (
	"math"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/ewma"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// steady adds n events every ten milliseconds for so long, and returns the rate at the end and when that is.
func steady(r *ewma.Rate, now time.Time, n int, long time.Duration) (perSecond float64, end time.Time) {
	for end = now.Add(long); now.Before(end); {
		now = now.Add(10 * time.Millisecond)
		r.Add(n)
		perSecond = r.PerSecond(now)
	}
	return perSecond, now
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > want/100+1e-9 {
		t.Errorf("%s: %v per second, want %v", what, got, want)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond} {
		r := &ewma.Rate{HalfLife: 200 * time.Millisecond, Every: every}
		near(t, "nothing", r.PerSecond(began), 0)
		got, now := steady(r, began, 3, 4*time.Second)
		near(t, "300 a second", got, 300)
		// Whatever came since, the events before weigh half after one half-life, in one step as in many.
		near(t, "half-life later", r.PerSecond(now.Add(200*time.Millisecond)), 150)
		near(t, "two more", r.PerSecond(now.Add(600*time.Millisecond)), 37.5)
	}
}

func TestRateOfAMoment(t *testing.T) {
	t.Parallel()
	r := &ewma.Rate{HalfLife: time.Second, Every: 10 * time.Millisecond}
	steady(r, began, 1, 10*time.Second)
	now := began.Add(10 * time.Second)
	r.Add(1000)
	before := r.PerSecond(now.Add(9 * time.Millisecond))
	near(t, "what is not yet counted", before, 100)
	if after := r.PerSecond(now.Add(10 * time.Millisecond)); after < 2*before {
		t.Errorf("1,000 at once count only as %v per second", after)
	}
	if again := r.PerSecond(now.Add(10 * time.Millisecond)); again < 2*before {
		t.Errorf("asked again at the same moment: %v", again)
	}
}
