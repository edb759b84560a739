package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
)

// mostShown is how many violations of a promise a report spells out; the result in the folder of logs has all.
const mostShown = 10

// Write writes the result for people.
func (r *Result) Write(out io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name string, format string, args ...any) {
		_, _ = fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	_, _ = fmt.Fprintf(t, "\nchaos, seed %d, %s\n", r.Seed, r.Took.Round(time.Second))
	row("submitted", "%d, of which accepted %d; %d submits repeated", r.Submitted, r.Accepted, r.Retried)
	row("jobs", "%d, with parts and deliveries: %s", r.Jobs, tally(r.Ended))
	row("in batches", "%d submits of several jobs", r.Batches)
	row("done again", "%d jobs, of which an operator redrove %d; %d dead ones discarded", r.Retries, r.Redriven, r.Discarded)
	row("scheduled", "%d jobs, begun %s after their time (p50), %s (p99), %s at most", r.Scheduled.Faults,
		round(r.Scheduled.P50), round(r.Scheduled.P99), round(r.Scheduled.Max))
	row("claims", "%d, of which %d lost their lease; %d jobs used up their attempts", r.Tally.Claims, r.Tally.LeasesLost, r.Tally.Dead)
	row("model calls", "%d, and %d of embeddings", r.Tally.Calls, r.EmbeddingCalls)
	row("unjournalled calls repeated", "%d", r.Tally.Unjournalled)
	row("calls by zombies", "%d", r.Tally.Zombie)
	row("streams", "%d events shown over %d connections", r.Tally.Shown, r.Tally.Connections)
	row("feeds", "%d events shown over %d connections", r.Fed, r.FedOver)
	row("webhooks", "%s", &r.Hooks)
	row("faults", "%d", len(r.Faults))
	if len(r.Deaths) > 0 {
		row("ended by themselves", "%s", tally(r.Deaths))
	}
	if len(r.Late) > 0 {
		row("killed when they did not stop", "%s", strings.Join(r.Late, ", "))
	}
	if r.Settled < 0 {
		row("settled", "NOT in time")
	} else {
		row("settled", "%s after everything was healed", r.Settled.Round(time.Millisecond))
	}
	_, _ = fmt.Fprint(t, "\ntime to recover\tfaults\tmeasured\tp50\tp99\tmax\tlongest without a claim\n")
	for _, f := range r.Recover {
		_, _ = fmt.Fprintf(t, "  %s\t%d\t%d\t%s\t%s\t%s\t%s\n", f.Kind, f.Faults, f.Measured,
			round(f.P50), round(f.P99), round(f.Max), round(f.Unclaimed))
	}
	_, _ = fmt.Fprint(t, "\nlongest in the queue\n")
	for _, w := range r.Waited {
		row(string(w.Kind), "%s from %s, job %s", w.For.Round(time.Millisecond), w.From.Format(time.StampMilli), w.Job)
	}
	_, _ = fmt.Fprint(t, "\npromises broken\n")
	for _, p := range history.Promises() {
		row(string(p), "%d", r.count(p))
	}
	if len(r.Refused) > 0 {
		row("requests refused", "%d", len(r.Refused))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range history.Promises() {
		left := mostShown
		for _, v := range r.Violations {
			if v.Promise == p && left > 0 {
				left--
				fmt.Fprintf(&b, "\n%s: %s, job %s: %s", p, v.Of, v.Job, v.What)
			}
		}
	}
	for _, why := range r.Refused[:min(len(r.Refused), mostShown)] {
		fmt.Fprintf(&b, "\nrefused: %s", why)
	}
	verdict := "VERDICT: every promise was kept"
	if !r.OK() {
		verdict = fmt.Sprintf("VERDICT: PROMISES WERE BROKEN (%d violations, %d requests refused)", len(r.Violations), len(r.Refused))
		if r.Settled < 0 {
			verdict += ", and the system did not come to rest"
		}
	}
	fmt.Fprintf(&b, "\n%s; seed %d, logs in %s\nagain: %s\n", verdict, r.Seed, r.Logs, r.Again)
	_, err := io.WriteString(out, b.String())
	return err
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func (r *Result) count(p history.Promise) (n int) {
	for _, v := range r.Violations {
		if v.Promise == p {
			n++
		}
	}
	return n
}

// tally writes counts by name.
func tally(counts map[string]int) string {
	all := make([]string, 0, len(counts))
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%d %s", counts[name], name))
	}
	return strings.Join(all, ", ")
}
