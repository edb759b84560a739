package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// judge reads what happened and holds it against the promises.
func judge(ctx context.Context, o Options, result *Result, s *system, l *load, rec *record) error {
	result.Submitted, result.Accepted, result.Retried = l.submitted.Load(), l.accepted.Load(), l.retried.Load()
	result.EmbeddingCalls, result.Ended = s.model.embeddings(), map[string]int{}
	for _, n := range s.nodes {
		if deaths := n.deaths(); deaths > 0 {
			result.Deaths[n.name] = deaths
		}
	}
	for _, e := range s.engines.all {
		if deaths := e.deaths(); deaths > 0 {
			result.Deaths[e.name] = deaths
		}
	}
	all, err := rec.jobs(ctx)
	if err != nil {
		return err
	}
	jobs, order := known(all, s.model)
	for _, j := range all {
		result.Ended[string(j.Status)]++
		if j.RetryOf != "" {
			result.Retries++
		}
	}
	result.Jobs = len(all)
	order = append(order, l.told(result, all, jobs)...)
	if err := check(ctx, o, result, rec, l, s.hooks.all(), jobs, order); err != nil {
		return err
	}
	return recovery(ctx, result, rec, jobs)
}

// known are all jobs of the record by their ids, and their order.
func known(all []made, model *meter) (jobs map[string]*history.Job, order []string) {
	jobs, began := map[string]*history.Job{}, map[string]time.Time{}
	for _, row := range all {
		began[row.ID] = row.CreatedAt
		order = append(order, row.ID)
	}
	for _, row := range all {
		j := &history.Job{ID: row.ID, Kind: row.Kind, Mark: row.Mark, Record: &history.Record{
			Status: row.Status, Attempt: row.Attempt, Epoch: row.Epoch, LastSeq: row.LastSeq, Dead: row.Dead, Part: row.Part,
			Tenant: row.Tenant, RetryOf: row.RetryOf, RetriedAs: row.RetriedAs,
		}}
		jobs[row.ID] = j
		if row.Kind != events.KindAgentRun {
			continue
		}
		// A job and the one that does it again have one mark. What is called for it after that is for the other.
		over, again := began[row.RetriedAs]
		for _, call := range model.of(row.Mark) {
			if !call.Began.Before(row.CreatedAt) && (!again || call.Began.Before(over)) {
				j.Calls = append(j.Calls, call)
			}
		}
	}
	return jobs, order
}

// told holds what clients were told against the jobs that there are, and adds it to them. It returns the jobs that clients know and the
// record does not.
func (l *load) told(result *Result, all []made, jobs map[string]*history.Job) (unknown []string) {
	byMark := map[string][]string{}
	for _, row := range all {
		if row.Mark != "" && row.RetryOf == "" {
			byMark[row.Mark] = append(byMark[row.Mark], row.ID)
		}
	}
	result.Refused = append(result.Refused, l.lies...)
	for _, f := range l.feeds {
		if f.refused != "" {
			result.Refused = append(result.Refused, f.refused)
		}
	}
	for _, c := range l.clients {
		if c.refused != "" {
			result.Refused = append(result.Refused, c.mark+": "+c.refused)
		}
		told, first := c.told(), c.job()
		if len(c.batch) > 0 {
			result.Batches++
			result.Violations = append(result.Violations, history.CheckBatch(history.Batch{
				Key: c.mark, Size: c.size(), Answered: c.answered, Made: byMark[c.mark],
			})...)
		} else {
			result.Violations = append(result.Violations,
				history.CheckSubmit(history.Submit{Key: c.mark, Answered: told, Made: byMark[c.mark]})...)
		}
		for _, id := range told {
			if jobs[id] == nil {
				jobs[id] = &history.Job{ID: id, Kind: c.kind, Mark: c.mark}
				unknown = append(unknown, id)
			}
			jobs[id].Accepted = true
			if len(c.batch) == 0 && id != first {
				continue // it should not be there; what the client did, it did to the first
			}
			jobs[id].Wanted = c.wanted()
			if c.reader != nil {
				jobs[id].Readers = append(jobs[id].Readers, *c.reader)
			}
		}
		if len(c.answered) > 0 {
			for n, id := range c.answered[0] {
				jobs[id].RunAt = c.notBefore(n)
			}
		}
	}
	return append(unknown, l.toldOfRetries(result, jobs)...)
}

// toldOfRetries does the same for the jobs that somebody was told to be done again.
func (l *load) toldOfRetries(result *Result, jobs map[string]*history.Job) (unknown []string) {
	for old, made := range l.retries {
		for _, id := range []string{old, made} {
			if jobs[id] == nil {
				jobs[id] = &history.Job{ID: id}
				unknown = append(unknown, id)
			}
			jobs[id].Accepted = true
		}
	}
	result.Violations = append(result.Violations, history.CheckRetries(jobs, l.retries)...)
	return unknown
}

// batch is how many histories are read at once.
const batch = 500

// mostKept is of how many jobs to which promises were broken the whole history is kept.
const mostKept = 20

// check goes through the history of each job. Those in which something is wrong are kept in the folder of the logs.
func check(
	ctx context.Context, o Options, result *Result, rec *record, l *load, hooks []*history.Hook,
	jobs map[string]*history.Job, order []string,
) error {
	wrong := map[string]bool{}
	for _, v := range result.Violations {
		wrong[v.Job] = true
	}
	var kept []*history.Job
	for ids := range slices.Chunk(order, batch) {
		some := map[string]*history.Job{}
		for _, id := range ids {
			some[id] = jobs[id]
		}
		if err := rec.fill(ctx, some); err != nil {
			return err
		}
		for _, id := range ids {
			j := jobs[id]
			violations, tally := history.Check(j)
			result.Violations = append(result.Violations, violations...)
			result.Tally.Add(tally)
			for _, h := range hooks {
				h.Check(j)
			}
			for _, f := range l.feeds {
				f.feed.Check(j)
			}
			if (len(violations) > 0 || wrong[id]) && len(kept) < mostKept {
				whole := *j
				kept = append(kept, &whole)
			}
			j.Log, j.Readers = nil, nil // that was most of it
		}
	}
	for _, h := range hooks {
		violations, tally := h.Violations()
		result.Violations = append(result.Violations, violations...)
		result.Hooks.Add(tally)
	}
	var feeds []*history.Feed
	for _, f := range l.feeds {
		feeds = append(feeds, f.feed)
		result.Violations = append(result.Violations, f.feed.Violations()...)
		result.Fed += f.feed.Shown
		result.FedOver += f.feed.Connections
	}
	result.Violations = append(result.Violations, history.CheckOrder(feeds)...)
	for _, v := range result.Violations { // what webhooks and feeds have found was found last
		known := slices.ContainsFunc(kept, func(j *history.Job) bool { return j.ID == v.Job })
		if j := jobs[v.Job]; j != nil && !known && len(kept) < mostKept {
			whole := *j
			whole.Changes, whole.Steps = nil, nil
			if err := rec.fill(ctx, map[string]*history.Job{j.ID: &whole}); err != nil {
				return err
			}
			kept = append(kept, &whole)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	text, err := json.MarshalIndent(kept, "", " ")
	if err != nil {
		return fmt.Errorf("keep histories: %w", err)
	}
	if err := os.WriteFile(filepath.Join(o.Logs, "histories.json"), text, 0o600); err != nil {
		return fmt.Errorf("keep histories: %w", err)
	}
	return nil
}

func recovery(ctx context.Context, result *Result, rec *record, jobs map[string]*history.Job) error {
	progress, err := rec.progress(ctx)
	if err != nil {
		return err
	}
	all := make([]*history.Job, 0, len(jobs))
	var claims []time.Time
	for _, j := range jobs {
		all = append(all, j)
		for _, c := range j.Changes {
			if c.Claims() {
				claims = append(claims, c.At)
			}
		}
	}
	slices.SortFunc(claims, time.Time.Compare)
	result.Recover = history.Recovery(result.Faults, progress, claims)
	kill := choice{kind: faultKill, of: ofWorker}
	result.Recover = append(result.Recover, history.Orphans(all, kill.name(), result.Faults))
	result.Scheduled = history.Starts(all)
	result.Waited = history.Standstills(all, longestShown)
	return nil
}

// longestShown is how many of the jobs that waited longest are told of.
const longestShown = 5
