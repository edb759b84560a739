package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// Cancel is measured by what it is for: the worker's slot goes to the next job. All slots are taken, as many jobs wait, and none ends
// by itself, so that each of those begins in the slot of another that was cancelled.
func TestDrillCancelFreesWorkersWithinASecond(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	running := size(d, 40, 200)
	slots := map[string]string{"WORKER_SLOTS": strconv.Itoa(running / 2), "WORKER_LEASE": "1m"}
	s := newStack(t, setup{
		gateways: 2, without: []string{ingestProgram, embeddingProgram}, twice: []string{agentProgram},
		env: map[string]map[string]string{agentProgram: slots},
	})
	here := s.login(adminAcme)
	clients := []*client{here, s.clientOf(s.gateways[1]).as(here.token)}
	s.model.script(step{Endpoint: generates, Repeat: forever, ChunkDelay: "5m", Parts: says("One word, and no more.", "").Parts})
	submit := func(text string) (ids []string) {
		for i := range running {
			ids = append(ids, clients[i%2].run(agentAcme, text).ID)
		}
		return ids
	}
	first := submit("Take your time.")
	eventually(t, time.Minute, "all slots are taken", func() (bool, string) {
		calls := s.model.count(generates)
		return calls == running, fmt.Sprintf("%d calls of the model", calls)
	})
	next := submit("Take over.")
	d.sayf("%d runs on two workers, as many wait; cancelling", running)

	sent, answers := make([]time.Time, running), make([]time.Duration, running)
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	cancel := func(ids []string) {
		var cancels sync.WaitGroup
		for i, id := range ids {
			<-pace.C
			cancels.Go(func() {
				sent[i] = time.Now()
				a, err := clients[(i+1)%2].try(request{method: http.MethodPost, path: "/api/v1/jobs/" + id + "/cancel"})
				if answers[i] = time.Since(sent[i]); err != nil || a.status != http.StatusOK {
					t.Errorf("cancel: %v, status %d: %s", err, a.status, a.body)
				}
			})
		}
		cancels.Wait()
	}
	if n := s.db.count("SELECT count(started_at) FROM jobs WHERE id = ANY($1::uuid[])", next); n != 0 {
		t.Fatalf("%d of the jobs that wait have a slot before one was freed", n)
	}
	cancel(first)
	var began []struct{ At time.Time }
	eventually(t, time.Minute, "the slots are taken by those who waited", func() (bool, string) {
		began = list[struct{ At time.Time }](s.db,
			"SELECT started_at FROM jobs WHERE id = ANY($1::uuid[]) AND status = 'running' ORDER BY 1", next)
		return len(began) == running, fmt.Sprintf("%d of %d", len(began), running)
	})
	slices.SortFunc(sent, time.Time.Compare)
	freed := make([]time.Duration, running)
	for i := range began {
		if freed[i] = began[i].At.Sub(sent[i]); freed[i] < 0 {
			t.Errorf("job %d of those who waited began %s before a slot was freed for it", i+1, -freed[i])
		}
	}
	d.within("cancel: answered", time.Second, slices.Clone(answers), 99)
	d.within("cancel: the slot on another machine runs the next job", time.Second, freed, 99)
	cancel(next)
	if n := s.db.count("SELECT count(*) FROM jobs WHERE status = 'cancelled'"); n != 2*running {
		t.Errorf("%d of %d jobs are cancelled", n, 2*running)
	}
	s.db.verify()
}

func TestDrillTakeoverOfALeadingDispatcherThatWasKilled(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	s := newStack(t, setup{gateways: 2, without: []string{agentProgram, ingestProgram}})
	token := s.login(adminAcme).token
	var gaps []time.Duration
	for round := range size(d, 1, 10) {
		leader, survivor := s.leader(t)
		leader.kill(t)
		killed := time.Now()
		c := s.clientOf(survivor).as(token)
		id := c.embed("Is anybody there?").ID
		c.await(id, time.Minute)
		var began time.Time
		s.db.scan("SELECT started_at FROM jobs WHERE id = $1", []any{id}, &began)
		gaps = append(gaps, began.Sub(killed))
		d.sayf("round %d: a job runs %s after the leader's death", round+1, rounded(began.Sub(killed)))
		leader.restart(t)
	}
	d.within("takeover: a job runs after the leading dispatcher was killed", takeover, gaps, 100)
	s.db.verify()
}

func TestDrillOrphansOfAKilledWorkerRunAgain(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	holds := size(d, lease, 5*time.Second)
	s := newStack(t, setup{
		gateways: 2, without: []string{ingestProgram, embeddingProgram}, twice: []string{agentProgram},
		env: map[string]map[string]string{agentProgram: {"WORKER_LEASE": holds.String()}},
	})
	c := s.login(adminAcme)
	workers := slices.DeleteFunc(slices.Clone(s.logs), func(p *process) bool { return !strings.HasPrefix(p.name, agentProgram) })
	var gaps []time.Duration
	for round := range size(d, 1, 10) {
		s.model.script(says("One word, and then nothing for long.", "2m"), says("Still done.", "1ms"))
		id := c.run(agentAcme, "Take your time.").ID
		f := c.follow(id)
		f.await(time.Minute, "the first word", func(seen []streamed) bool { return len(decode[events.TextDelta](t, seen)) > 0 })
		at := -1
		eventually(t, time.Minute, "a worker says that it runs the job", func() (bool, string) {
			at = slices.IndexFunc(workers, func(p *process) bool { return runs(t, p, events.KindAgentRun) })
			return at >= 0, "none does"
		})
		workers[at].kill(t)
		killed := time.Now()
		seen := f.all(recovered)
		if got := states(t, seen); !slices.Equal(got, lostOnce()) {
			t.Errorf("the run went through %q", got)
		}
		var again time.Time
		s.db.scan(`SELECT max(created_at) FROM job_events WHERE job_id = $1 AND type = 'job.state' AND data->>'status' = 'running'`,
			[]any{id}, &again)
		gaps = append(gaps, again.Sub(killed))
		d.sayf("round %d: the job runs again %s after its worker's death", round+1, rounded(again.Sub(killed)))
		workers[at].restart(t)
	}
	d.within(fmt.Sprintf("orphans: a job of a killed worker runs again, lease %s", holds), holds+2*time.Second, gaps, 100)
	s.db.verify()
}

// runs reports whether a process says that it runs jobs of the kind.
func runs(t *testing.T, p *process, kind events.Kind) bool {
	t.Helper()
	for line := range strings.Lines(metrics(t, p)) {
		value, found := strings.CutPrefix(line, fmt.Sprintf("copilot_worker_jobs_running{kind=%q} ", kind))
		if found {
			return strings.TrimSpace(value) != "0"
		}
	}
	return false
}

func TestDrillIdempotencyOutlivesAGatewayThatIsKilledBeforeItAnswers(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	s := newStack(t, setup{gateways: 2, without: []string{agentProgram, ingestProgram, embeddingProgram}})
	token := s.login(adminAcme).token
	clients := []*client{s.clientOf(s.gateways[0]).as(token), s.clientOf(s.gateways[1]).as(token)}
	keyed := func(key, prefer string) request {
		return request{
			method: http.MethodPost, path: "/api/v1/embeddings", json: map[string]any{"texts": []string{"hello"}},
			header: map[string]string{"Idempotency-Key": key, "Prefer": prefer},
		}
	}
	jobs := func() int { return s.db.count("SELECT count(*) FROM jobs") }

	const parallel = 64
	ids := make([]string, parallel)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			a, err := clients[i%2].try(keyed("many", ""))
			var j job
			if err != nil || a.status != http.StatusAccepted || json.Unmarshal(a.body, &j) != nil {
				t.Errorf("status %d: %v: %s", a.status, err, a.body)
			}
			ids[i] = j.ID
		})
	}
	all.Wait()
	slices.Sort(ids)
	different := len(slices.Compact(ids)) - 1
	d.none("idempotency: jobs beyond one for one key, submitted in parallel to two gateways", max(different, jobs()-1), parallel, "submits")

	rounds, wrong := size(d, 2, 10), 0
	for round := range rounds {
		before, key, killed := jobs(), fmt.Sprintf("round %d", round), s.gateways[round%2]
		submit := clients[round%2]
		prefer := "wait=30" // nobody works, so the gateway commits, and then holds its answer back
		if round/2%2 == 1 { // it answers, and nobody hears it
			prefer = ""
			submit = (&client{t: t, http: submit.http, base: newMute(t, killed)}).as(token)
		}
		answered := make(chan error, 1)
		go func() {
			a, err := submit.try(keyed(strings.ReplaceAll(key, " ", "-"), prefer))
			if err == nil {
				err = fmt.Errorf("status %d: %s", a.status, a.body)
			} else {
				err = nil
			}
			answered <- err
		}()
		eventually(t, time.Minute, "the job is committed", func() (bool, string) { return jobs() > before, "no job" })
		killed.kill(t)
		if err := <-answered; err != nil {
			t.Errorf("the killed gateway has answered: %v", err)
		}
		var made string
		s.db.scan("SELECT id::text FROM jobs ORDER BY created_at DESC LIMIT 1", nil, &made)
		var j job
		a := clients[1-round%2].send(keyed(strings.ReplaceAll(key, " ", "-"), "")).wants(http.StatusAccepted).into(&j)
		if j.ID != made || a.header.Get("Idempotency-Replayed") != "true" || jobs() != before+1 {
			wrong++
			t.Errorf("round %d made job %s and answers the repetition with %s; there are %d jobs more", round, made, j.ID, jobs()-before)
		}
		killed.restart(t)
	}
	d.none("idempotency: repetitions that made another job, the gateway killed between commit and answer", wrong, rounds, "")
	s.startWorker(embeddingProgram)
	s.db.awaitAllEnded(time.Minute)
	s.db.verify()
}
