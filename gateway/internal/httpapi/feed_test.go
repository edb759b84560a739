package httpapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// fed is what an event of the feed tells.
type fed struct {
	Job  string `json:"job_id"`
	Kind string
	Seq  int64
	Type string
	Time time.Time
	Data json.RawMessage
}

// reading is an open feed.
type reading struct {
	t      *testing.T
	frames <-chan frame
	// at is the id that a client would come back with.
	at string
}

// reads opens the feed and returns when it has begun.
func (g *gateway) reads(as, query string, headers ...string) *reading {
	g.t.Helper()
	frames, resp := g.follow(as, "/v1/events"+query, headers...)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		g.t.Fatalf("the feed answers %d %v", resp.StatusCode, resp.Header)
	}
	r := &reading{t: g.t, frames: frames}
	if first := r.next(); first.retry == "" || first.id == "" {
		g.t.Fatalf("the feed begins with %+v", first)
	}
	return r
}

// next returns the next frame; the zero frame when the stream has ended.
func (r *reading) next() frame {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case f := <-r.frames:
		if f.id != "" {
			r.at = f.id
		}
		return f
	case <-timeout.C:
		r.t.Fatal("the feed has nothing to tell")
		return frame{}
	}
}

// takes returns the jobs and numbers of the next n events.
func (r *reading) takes(n int) (list []fed) {
	r.t.Helper()
	for len(list) < n {
		f := r.next()
		if f.event == "" && f.id != "" {
			continue
		}
		var e fed
		if err := json.Unmarshal([]byte(f.data), &e); err != nil || f.event != e.Type || f.id == "" {
			r.t.Fatalf("%v: %+v", err, f)
		}
		list = append(list, e)
	}
	return list
}

func jobsOf(list []fed) (ids []string) {
	for _, e := range list {
		ids = append(ids, e.Job)
	}
	return ids
}

func TestTheFeedShowsWhatItsReaderMaySeeAndResumesOnAnyGateway(t *testing.T) {
	t.Parallel()
	g := start(t)
	manager := g.person("paul", access.ProjectManager)
	all, own, projects, foreign := g.reads(admin, ""), g.reads(member, ""), g.reads(manager, ""), g.reads(stranger, "")

	embedded := g.embed(admin, 1)[0]
	run := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	elsewhere := g.embed(stranger, 1)[0]
	j := g.claim(run)
	g.end(j, store.Succeed(nil))

	whole := all.takes(4)
	if got, want := jobsOf(whole), []string{embedded, run, run, run}; !slices.Equal(got, want) {
		t.Fatalf("an Admin sees %v, want %v", got, want)
	}
	if first := whole[1]; first.Kind != "agent.run" || first.Seq != 1 || first.Type != "job.state" || first.Time.IsZero() ||
		!strings.Contains(string(first.Data), `"queued"`) {
		t.Errorf("the run begins with %+v", first)
	}
	for who, r := range map[string]*reading{"the owner": own, "a Project Manager": projects} {
		if got := jobsOf(r.takes(3)); !slices.Equal(got, []string{run, run, run}) {
			t.Errorf("%s sees %v, want the run only", who, got)
		}
	}
	if got := jobsOf(foreign.takes(1)); !slices.Equal(got, []string{elsewhere}) {
		t.Errorf("another organization sees %v", got)
	}

	other := g.beside()
	for from, want := range map[string][]string{
		"?from=beginning":                                     {embedded, run, run, run},
		"?from=beginning&kind=agent.run":                      {run, run, run},
		"?from=beginning&kind=embedding.create,document.sync": {embedded},
		"?since=2020-01-01T00:00:00Z":                         {embedded, run, run, run},
		"?since=0001-01-01T00:00:00Z":                         {embedded, run, run, run},
		"?from=beginning&type=job.state":                      {embedded, run, run, run},
		"?last_event_id=" + own.at:                            {},
	} {
		again := other.reads(admin, from)
		if got := jobsOf(again.takes(len(want))); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", from, got, want)
		}
	}
	again := other.reads(admin, "?from=beginning")
	again.takes(2)
	resumed := g.reads(admin, "", "Last-Event-ID", again.at)
	next := g.embed(admin, 1)[0]
	if got := jobsOf(resumed.takes(3)); !slices.Equal(got, []string{run, run, next}) {
		t.Errorf("after the second event: %v", got)
	}

	g.call(stranger, "GET", "/v1/events", nil, "Last-Event-ID", own.at).wants(422).has("stream.cursor")
	g.call(admin, "GET", "/v1/events", nil, "Last-Event-ID", "7").wants(422).has("stream.cursor")
	g.call(admin, "GET", "/v1/events?kind=agent.walk", nil).wants(422)
	g.call(admin, "GET", "/v1/events?from=yesterday", nil).wants(422)
	g.call("", "GET", "/v1/events", nil).wants(401)
}

func TestTheFeedSaysWhyItEnds(t *testing.T) {
	t.Parallel()
	g := start(t)
	removed, revoked := g.newcomer("rita", access.ProjectManager), g.newcomer("rob", access.Member)
	fewer, none := g.reads(removed.name, ""), g.reads(revoked.name, "")
	g.call(admin, "DELETE", "/v1/projects/"+acmeProject+"/members/"+removed.id, nil).wants(204)
	g.call(admin, "DELETE", "/v1/users/"+revoked.id, nil).wants(200)
	for what, c := range map[string]struct {
		r     *reading
		event string
	}{"a lost membership": {fewer, "access.changed"}, "a deactivated user": {none, "access.revoked"}} {
		if last := c.r.next(); last.event != c.event || !strings.Contains(last.data, `"detail"`) {
			t.Errorf("%s ends it with %+v, want %s", what, last, c.event)
		}
		if rest := all(t, c.r.frames); len(rest) > 0 {
			t.Errorf("%s: after the end came %+v", what, rest)
		}
	}
	run := g.call(admin, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	again := g.reads(removed.name, "", "Last-Event-ID", fewer.at)
	mine := g.embed(admin, 1)[0]
	g.end(g.claim(run), store.Succeed(nil))
	select {
	case f := <-again.frames:
		t.Errorf("without the project, %s and %s showed as %+v", run, mine, f)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestAFeedThatHasNothingToTellShowsThatItIsAliveUntilTheTokenEnds(t *testing.T) {
	t.Parallel()
	g := start(t, "STREAM_HEARTBEAT", "50ms")
	r := g.reads(member, "")
	for range 5 {
		if f := r.next(); f.comment != "still here" || f.id == "" {
			t.Fatalf("want a heartbeat with a place to come back to, got %+v", f)
		}
	}
	ends := g.beside("STREAM_HEARTBEAT", "50ms", "ACCESS_TOKEN_TTL", "2s").reads(admin, "")
	f := ends.next()
	for f.comment == "still here" {
		f = ends.next()
	}
	if f.event != "token.expired" {
		t.Errorf("the feed ended with %+v", f)
	}
	id := g.embed(member, 1)[0]
	again := g.reads(member, "", "Last-Event-ID", r.at)
	if got := jobsOf(again.takes(1)); !slices.Equal(got, []string{id}) {
		t.Errorf("after the pause: %v, want %s", got, id)
	}
}
