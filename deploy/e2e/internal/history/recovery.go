package history

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
)

// Fault is something that was done to the system.
type Fault struct {
	// Kind names what was done.
	Kind string `json:"kind"`
	// Target is the process or engine that it was done to.
	Target string `json:"target"`
	// Writer is set when the target is a process, by whose writes its return shows; empty stands for anybody's.
	Writer string    `json:"-"`
	Began  time.Time `json:"began"`
	Healed time.Time `json:"healed"`
}

// Progress is a write about some job.
type Progress struct {
	At     time.Time
	Writer string
}

// Recovered says how long it took after the faults of a kind until jobs made progress again.
type Recovered struct {
	Kind string `json:"kind"`
	// Faults counts them, Measured those after which the target was left alone until it showed.
	Faults   int           `json:"faults"`
	Measured int           `json:"measured"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
	// Unclaimed is the longest time without a claim by anybody of which a part lies between the beginning of a fault and its healing.
	Unclaimed time.Duration `json:"unclaimed"`
}

// Recovery measures the time from the healing of each fault to the next progress: that of the process that was hurt, or of any
// when it was an engine. The progress must be in order of time, and so must the times of all claims. A target that was hurt again
// before it showed is not measured.
func Recovery(faults []Fault, progress []Progress, claims []time.Time) []Recovered {
	took := map[string][]time.Duration{}
	counted := map[string]int{}
	unclaimed := map[string]time.Duration{}
	for i, f := range faults {
		counted[f.Kind]++
		unclaimed[f.Kind] = max(unclaimed[f.Kind], longestGap(f, claims))
		from, _ := slices.BinarySearchFunc(progress, f.Healed, func(p Progress, at time.Time) int { return p.At.Compare(at) })
		next := slices.IndexFunc(progress[from:], func(p Progress) bool { return f.Writer == "" || p.Writer == f.Writer })
		if next < 0 {
			continue
		}
		shown := progress[from+next].At
		hurt := func(o Fault) bool { return o.Target == f.Target && o.Began.After(f.Began) && o.Began.Before(shown) }
		if slices.ContainsFunc(faults[i+1:], hurt) {
			continue
		}
		took[f.Kind] = append(took[f.Kind], shown.Sub(f.Healed))
	}
	all := make([]Recovered, 0, len(counted))
	for kind, n := range counted {
		r := summary(kind, n, took[kind])
		r.Unclaimed = unclaimed[kind]
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Recovered) int { return strings.Compare(a.Kind, b.Kind) })
	return all
}

// longestGap is the longest time between two claims that overlaps a fault.
func longestGap(f Fault, claims []time.Time) (longest time.Duration) {
	for i := 1; i < len(claims); i++ {
		if claims[i].After(f.Began) && claims[i-1].Before(f.Healed) {
			longest = max(longest, claims[i].Sub(claims[i-1]))
		}
	}
	return longest
}

// summary reduces measured times.
func summary(kind string, n int, took []time.Duration) Recovered {
	r := Recovered{Kind: kind, Faults: n, Measured: len(took)}
	if len(took) > 0 {
		slices.Sort(took)
		r.P50, r.P99, r.Max = took[len(took)/2], took[(len(took)*99-1)/100], took[len(took)-1]
	}
	return r
}

// Orphans measures, for each job that was with a worker when that was killed, the time until it ran again or ended.
func Orphans(jobs []*Job, kind string, faults []Fault) Recovered {
	var took []time.Duration
	n := 0
	for _, f := range faults {
		if f.Kind != kind {
			continue
		}
		for _, j := range jobs {
			epoch, held := j.heldBy(f.Writer, f.Began)
			if !held {
				continue
			}
			n++
			for _, c := range j.Changes {
				if c.At.After(f.Began) && (c.Epoch > epoch || c.To.Terminal()) {
					took = append(took, c.At.Sub(f.Began))
					break
				}
			}
		}
	}
	return summary("orphaned by "+kind, n, took)
}

// Starts measures from the time at which each job might begin, of those whose clients named one, until it was first claimed.
func Starts(jobs []*Job) Recovered {
	var took []time.Duration
	n := 0
	for _, j := range jobs {
		if j.RunAt.IsZero() {
			continue
		}
		n++
		if i := slices.IndexFunc(j.Changes, Change.Claims); i >= 0 {
			took = append(took, j.Changes[i].At.Sub(j.RunAt))
		}
	}
	return summary("scheduled", n, took)
}

// heldBy tells whether a worker holds the job at a time, and at which epoch.
func (j *Job) heldBy(worker string, at time.Time) (epoch int64, held bool) {
	for _, c := range j.Changes {
		if c.At.After(at) {
			break
		}
		epoch, held = c.Epoch, c.To == events.StatusRunning && (held && !c.Claims() || c.Claims() && c.Writer == worker)
	}
	return epoch, held
}

// Standstill is the longest time that a job stood in the queue, from its time on if it had one.
type Standstill struct {
	Job  string        `json:"job"`
	Kind events.Kind   `json:"kind"`
	For  time.Duration `json:"for"`
	From time.Time     `json:"from"`
}

// Standstills returns the longest of all jobs, longest first.
func Standstills(jobs []*Job, most int) []Standstill {
	var all []Standstill
	for _, j := range jobs {
		longest := Standstill{Job: j.ID, Kind: j.Kind}
		for i := 1; i < len(j.Changes); i++ {
			before, now := j.Changes[i-1], j.Changes[i]
			from := before.At
			if from.Before(j.RunAt) {
				from = j.RunAt
			}
			if took := now.At.Sub(from); before.To == events.StatusQueued && took > longest.For {
				longest.For, longest.From = took, from
			}
		}
		if longest.For > 0 {
			all = append(all, longest)
		}
	}
	slices.SortFunc(all, func(a, b Standstill) int { return cmp.Compare(b.For, a.For) })
	return all[:min(len(all), most)]
}
