package history

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/tarento/copilot/events"
)

// Feed is what a client was shown of the feed of an organization, over however many connections. It keeps no event, only what tells
// whether it was shown and how. Make it with NewFeed. It is not safe for concurrent use.
type Feed struct {
	Name   string
	Tenant string
	// Connections counts how often the client connected, Shown how many events it saw.
	Connections, Shown int

	seen   map[string][]uint64 // what each event of a job said, by sequence number
	order  uint64
	broken []Violation
}

// NewFeed returns a feed of which nothing was shown yet.
func NewFeed(name, tenant string) *Feed {
	return &Feed{Name: name, Tenant: tenant, seen: map[string][]uint64{}}
}

// missed stands for an event that was not shown.
const missed = 0

// Add notes that an event was shown. Whether that was its turn is found out at once.
func (f *Feed) Add(job string, seq int64, is events.Type, data json.RawMessage) {
	f.Shown++
	f.order = digest(strconv.FormatUint(f.order, 36), job, strconv.FormatInt(seq, 10))
	seen := f.seen[job]
	switch next := int64(len(seen)) + 1; {
	case seq < next:
		f.brokenf(job, "it is shown event %d, %s, after event %d", seq, is, next-1)
		return
	case seq > next:
		f.brokenf(job, "it is shown event %d, %s, and events %d to %d are missing", seq, is, next, seq-1)
		seen = append(seen, make([]uint64, seq-next)...)
	}
	f.seen[job] = append(seen, say(is, data))
}

// Restarted notes that the feed said that it begins anew.
func (f *Feed) Restarted() { f.brokenf("", "it was told that the feed begins anew") }

func (f *Feed) brokenf(job, format string, args ...any) {
	f.broken = append(f.broken, violationOf(FedOnce, job, f.Name+": "+format, args...))
}

func violationOf(p Promise, job, format string, args ...any) Violation {
	return Violation{Promise: p, Job: job, What: fmt.Sprintf(format, args...)}
}

// Check holds what the feed showed of a job against the job's log, and forgets it.
func (f *Feed) Check(j *Job) {
	seen := f.seen[j.ID]
	delete(f.seen, j.ID)
	shows := j.Record != nil && j.Record.Tenant == f.Tenant && j.Kind != events.KindWebhookDeliver
	if !shows {
		if len(seen) > 0 {
			f.brokenf(j.ID, "it is shown %d events of a job that it is not to see", len(seen))
		}
		return
	}
	if len(seen) != len(j.Log) {
		f.brokenf(j.ID, "it is shown %d events, the log has %d", len(seen), len(j.Log))
	}
	for i := range min(len(seen), len(j.Log)) {
		if e := j.Log[i]; seen[i] != missed && seen[i] != say(e.Type, e.Data) {
			f.brokenf(j.ID, "it is shown another event %d than the log's %s %s", e.Seq, e.Type, e.Data)
		}
	}
}

// Violations returns what Add and Check have found, and the jobs that were never checked: there are none such.
func (f *Feed) Violations() []Violation {
	all := slices.Clone(f.broken)
	for job, seen := range f.seen {
		all = append(all, violationOf(FedOnce, job, "%s: it is shown %d events of a job that the record does not know", f.Name, len(seen)))
	}
	slices.SortStableFunc(all, func(a, b Violation) int { return strings.Compare(a.Job, b.Job) })
	return all
}

// CheckOrder returns a violation for each feed that showed as many events as the first of its organization, in another order.
func CheckOrder(feeds []*Feed) (violations []Violation) {
	first := map[string]*Feed{}
	for _, f := range feeds {
		one := first[f.Tenant]
		if one == nil {
			first[f.Tenant] = f
		} else if f.Shown == one.Shown && f.order != one.order {
			violations = append(violations, violationOf(FedOnce, "", "%s: it is shown events in another order than %s", f.Name, one.Name))
		}
	}
	return violations
}

// say is what an event says, however its JSON is spaced and ordered. It is never missed.
func say(is events.Type, data json.RawMessage) uint64 {
	var v any
	if json.Unmarshal(data, &v) == nil {
		if plain, err := json.Marshal(v); err == nil {
			data = plain
		}
	}
	return max(digest(string(is), string(data)), missed+1)
}

func digest(parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}
