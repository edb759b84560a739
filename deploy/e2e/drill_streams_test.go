package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// cutReader follows a job and connects again, at another gateway, whenever it is cut.
type cutReader struct {
	clients []*client
	seen    []streamed
}

// read returns at the job's end. It may be called from any goroutine.
func (r *cutReader) read(ctx context.Context, job string) error {
	for turn := 0; ctx.Err() == nil; turn++ {
		c := *r.clients[turn%len(r.clients)]
		// Each connection is one of its own, as those of many clients are.
		c.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		after := ""
		if len(r.seen) > 0 {
			after = r.seen[len(r.seen)-1].id
		}
		s, err := c.open(ctx, job, after)
		if err != nil {
			if _, refused := errors.AsType[*refusedError](err); refused {
				return err
			}
			continue // it was cut early
		}
		for err == nil {
			var e streamed
			if e, err = s.next(); err == nil {
				r.seen = append(r.seen, e)
			}
		}
		s.close()
		if len(r.seen) > 0 && terminal(r.seen[len(r.seen)-1]) {
			return nil
		}
	}
	return ctx.Err()
}

func TestDrillStreamsThroughCutsTellEverythingOnce(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	readers, pieces, every := size(d, 60, 200), size(d, 200, 500), size(d, 15*time.Millisecond, 20*time.Millisecond)
	s := newStack(t, setup{gateways: 2, without: []string{ingestProgram, embeddingProgram}})
	token := s.login(adminAcme).token
	var through []*client
	var cutters []*cutter
	for _, g := range s.gateways {
		cutters = append(cutters, newCutter(t, g))
		through = append(through, (&client{t: t, base: cutters[len(cutters)-1].base}).as(token))
	}
	var words strings.Builder
	for i := range pieces {
		fmt.Fprintf(&words, "wörd%d ", i)
	}
	text := strings.TrimSpace(words.String())
	s.model.script(says(text, every.String()))
	plain := s.clientOf(s.gateways[0]).as(token)
	job := plain.run(agentAcme, "Speak at length.").ID
	uncut := plain.follow(job)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := make([]*cutReader, readers)
	var reading sync.WaitGroup
	for i := range all {
		all[i] = &cutReader{clients: []*client{through[i%2], through[1-i%2]}}
		reading.Go(func() {
			if err := all[i].read(ctx, job); err != nil {
				t.Errorf("reader %d, after %d events: %v", i, len(all[i].seen), err)
			}
		})
	}
	reading.Wait()
	whole := uncut.all(time.Minute)
	want := mustTell(t, whole)
	if len(whole) < pieces || want.text != text {
		t.Fatalf("the uncut stream has %d events, want %d at least; it ends with %.80q", len(whole), pieces, want.text[max(0, len(want.text)-80):])
	}
	cuts := len(cutters[0].cuts) + len(cutters[1].cuts)
	what := fmt.Sprintf("%d streams of %d events, cut every 1-3 s, resumed on the other gateway", readers, len(whole))
	wrong := 0
	for i, r := range all {
		if err := tellsSame(r.seen, want); err != nil {
			if wrong++; wrong <= 5 {
				t.Errorf("reader %d: %v", i, err)
			}
		}
	}
	d.none(what+": streams with a gap, a double or another order", wrong, readers, fmt.Sprintf("(%d cuts)", cuts))
	if cuts < readers {
		t.Errorf("%d connections were cut, want %d at least", cuts, readers)
	}

	wrong = 0
	var mu sync.Mutex
	for i := range readers {
		reading.Go(func() {
			late, err := s.clientOf(s.gateways[i%2]).as(token).take(ctx, job, "", -1)
			if err == nil {
				err = tellsSame(late, want)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if wrong++; wrong <= 5 {
					t.Errorf("late reader %d: %v", i, err)
				}
			}
		})
	}
	reading.Wait()
	d.none("streams opened after the end: those that tell less or more", wrong, readers, "")
	s.db.verify()
}

// tellsSame compares what a reader saw with the story.
func tellsSame(seen []streamed, want story) error {
	got, err := tell(seen)
	if err != nil {
		return err
	}
	if difference := got.differs(want); difference != "" {
		return errors.New(difference)
	}
	return nil
}

func TestDrillIdleStreamStaysOpenAndGoesOn(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	idle, beat := size(d, 3*time.Second, 2*time.Minute), size(d, 200*time.Millisecond, 15*time.Second)
	s := newStack(t, setup{
		gateways: 2, without: []string{agentProgram, ingestProgram, embeddingProgram},
		env: map[string]map[string]string{gatewayProgram: {"STREAM_HEARTBEAT": beat.String()}},
	})
	c := s.login(adminAcme)
	s.model.script(says(longAnswer, "5ms"))
	job := c.run(agentAcme, "Nobody is there to answer yet.").ID

	// signs is how many signs of life the silence lasts at least. How far apart they come is what within judges.
	const streams, signs = 10, 5
	type result struct {
		from *stream
		seen []streamed
		err  error
	}
	results := make([]result, streams)
	var reading sync.WaitGroup
	for i := range results {
		from, err := s.clientOf(s.gateways[i%2]).as(c.token).open(t.Context(), job, "")
		if err != nil {
			t.Fatal(err)
		}
		r := &results[i]
		r.from = from
		reading.Go(func() {
			defer from.close()
			for r.err == nil {
				var e streamed
				if e, r.err = from.next(); r.err == nil {
					r.seen = append(r.seen, e)
				}
			}
		})
	}
	d.sayf("nothing happens for %s", idle)
	pause(t, idle)
	eventually(t, patience, fmt.Sprintf("%d signs of life on each stream", signs), func() (bool, string) {
		least := results[0].from.beats.Load()
		for i := range results {
			least = min(least, results[i].from.beats.Load())
		}
		return least >= signs, fmt.Sprintf("%d on one of them", least)
	})
	s.startWorker(agentProgram)
	reading.Wait()

	whole, err := c.take(t.Context(), job, "", -1)
	if err != nil {
		t.Fatal(err)
	}
	want, wrong, quiet := mustTell(t, whole), 0, []time.Duration{}
	for i := range results {
		r := &results[i]
		err := tellsSame(r.seen, want)
		if !errors.Is(r.err, io.EOF) {
			err = r.err
		}
		if err != nil {
			wrong++
			t.Errorf("stream %d: %v", i, err)
		}
		quiet = append(quiet, r.from.silence)
	}
	d.none(fmt.Sprintf("streams idle for %s: cut, or told less or more once it goes on", idle), wrong, streams, "")
	d.within(fmt.Sprintf("streams idle for %s: longest silence, with heartbeats every %s", idle, beat), beat+time.Second, quiet, 100)

	// The last event before the silence is where a client goes on that lost its connection in it, at another gateway.
	rest, err := s.clientOf(s.gateways[1]).as(c.token).take(t.Context(), job, results[0].seen[0].id, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := tellsSame(append([]streamed{results[0].seen[0]}, rest...), want); err != nil {
		t.Errorf("resumed on the other gateway: %v", err)
	}
	if decode[events.JobState](t, rest)[0].Status != events.StatusRunning {
		t.Errorf("the rest begins with\n%s", outline(rest[:1]))
	}
	s.db.verify()
}
