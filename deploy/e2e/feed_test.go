package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// fed is an event of the feed.
type fed struct {
	Job  string `json:"job_id"`
	Seq  int64  `json:"seq"`
	Type events.Type
	Data events.JobState
}

func (e fed) String() string { return fmt.Sprintf("%s %d %s", e.Job, e.Seq, e.Type) }

// feedReader is a client that keeps what it saw over all its connections.
type feedReader struct {
	token string
	// bases are the addresses that it connects to by turns.
	bases []string
	after string
	seen  []fed
}

// read follows the feed from the beginning and connects again whenever it is cut, until an event is the last. It may be called from
// any goroutine.
func (r *feedReader) read(ctx context.Context, last func(fed) bool) error {
	for turn := 0; ; turn++ {
		if over, err := r.connect(ctx, r.bases[turn%len(r.bases)], last); over || err != nil {
			return err
		}
	}
}

// connect reads one connection until it is cut, or over.
func (r *feedReader) connect(ctx context.Context, base string, last func(fed) bool) (over bool, err error) {
	// Each connection is one of its own, as those of many clients are.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/events?from=beginning", http.NoBody)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	if r.after != "" {
		req.Header.Set("Last-Event-ID", r.after)
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, ctx.Err() // it was cut early
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		if err != nil {
			return false, ctx.Err()
		}
		return false, fmt.Errorf("the feed answers %d: %s", resp.StatusCode, text)
	}
	lines := bufio.NewReader(resp.Body)
	id, data := r.after, ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return false, ctx.Err() // what was not complete counts for nothing
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if r.after = id; data == "" {
				continue
			}
			var e fed
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				return false, fmt.Errorf("read an event: %w: %s", err, data)
			}
			data = ""
			if r.seen = append(r.seen, e); last(e) {
				return true, nil
			}
		default:
		}
	}
}

// outlined are events as lines.
func outlined(seen []fed) (lines []string) {
	for _, e := range seen {
		lines = append(lines, e.String())
	}
	return lines
}

func TestTwoHundredReadersOfTheFeedSeeEachEventOnceThroughAllCuts(t *testing.T) {
	t.Parallel()
	const readers, jobs, atLeast = 200, 170, 500
	s := newStack(t, setup{gateways: 2, without: []string{agentProgram, ingestProgram}})
	c, foreign := s.login(adminAcme), s.login(adminOther)
	cutters := []*cutter{newCutter(t, s.gateways[0]), newCutter(t, s.gateways[1])}
	bases := []string{cutters[0].base, cutters[1].base}

	var end atomic.Value // the id of the last job
	end.Store("")
	isLast := func(e fed) bool {
		return e.Job == end.Load() && e.Type == events.TypeJobState && e.Data.Status.Terminal()
	}
	all := make([]*feedReader, readers)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var reading sync.WaitGroup
	for i := range all {
		all[i] = &feedReader{token: c.token, bases: bases}
		if i%2 == 1 {
			all[i].bases = []string{bases[1], bases[0]}
		}
		reading.Go(func() {
			if err := all[i].read(ctx, isLast); err != nil {
				t.Errorf("reader %d, after %d events: %v", i, len(all[i].seen), err)
			}
		})
	}
	pace := time.NewTicker(40 * time.Millisecond)
	defer pace.Stop()
	var ids []string
	for i := range jobs {
		<-pace.C
		ids = append(ids, c.embed(fmt.Sprintf("text %d", i)).ID)
		if i%10 == 0 {
			foreign.embed("of somebody else")
		}
	}
	for _, id := range ids {
		c.await(id, time.Minute)
	}
	final := c.embed("the last").ID
	end.Store(final)
	c.await(final, time.Minute)
	reading.Wait()

	plain := &feedReader{token: c.token, bases: []string{s.gateways[0].url}}
	if err := plain.read(ctx, isLast); err != nil {
		t.Fatal(err)
	}
	want := outlined(plain.seen)
	if len(want) < atLeast {
		t.Fatalf("there were %d events, want %d at least", len(want), atLeast)
	}
	for i, r := range all {
		if got := outlined(r.seen); !slices.Equal(got, want) {
			t.Errorf("reader %d saw %d events, want %d: %s", i, len(got), len(want), firstDifference(got, want))
		}
	}
	last := map[string]int64{}
	for _, e := range plain.seen {
		if last[e.Job]++; e.Seq != last[e.Job] {
			t.Errorf("%s comes as number %d of its job", e, last[e.Job])
		}
	}
	if len(last) != jobs+1 {
		t.Errorf("the feed tells of %d jobs, want the %d of this organization", len(last), jobs+1)
	}
	if cuts := len(cutters[0].cuts) + len(cutters[1].cuts); cuts < readers {
		t.Errorf("%d connections were cut, want %d at least", cuts, readers)
	}
	t.Logf("%d readers, %d events each, %d cuts", readers, len(want), len(cutters[0].cuts)+len(cutters[1].cuts))
	s.db.verify()
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("event %d is %s, want %s", i+1, got[i], want[i])
		}
	}
	return "one ends early"
}
