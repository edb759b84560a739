package httpapi_test

import (
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// follows subscribes to a job under its id, from the beginning or after an event.
func (k *socket) follows(job, after string) {
	k.t.Helper()
	k.says(map[string]string{"op": "subscribe", "id": job, "job_id": job, "last_event_id": after})
}

// feeds subscribes to the feed and returns when it has begun.
func (k *socket) feeds(id, after string, filter map[string]any) told {
	k.t.Helper()
	m := k.asks(map[string]any{"op": "subscribe", "id": id, "feed": filter, "last_event_id": after})
	if m.Op != "subscribed" || m.ID != id || m.EventID == "" {
		k.t.Fatalf("the feed begins with %+v %+v", m, m.Error)
	}
	return m
}

// outline is an event as a line, in the same words for sockets and streams.
func outline(id, event, data string) string { return id + " " + event + " " + data }

// logOf is what the stream of a job tells from the beginning to its end.
func (g *gateway) logOf(as, job string) (lines []string) {
	g.t.Helper()
	frames, _ := g.follow(as, "/v1/jobs/"+job+"/events")
	for _, f := range all(g.t, frames) {
		lines = append(lines, outline(f.id, f.event, f.data))
	}
	return lines
}

// collected is what the subscriptions of a socket have shown.
type collected struct {
	lines map[string][]string
	last  map[string]string
	ended map[string]told
}

func collect() *collected {
	return &collected{map[string][]string{}, map[string]string{}, map[string]told{}}
}

// takes notes a message, and reports whether it was an event.
func (c *collected) takes(m told) bool {
	switch m.Op {
	case "event":
		c.lines[m.ID] = append(c.lines[m.ID], outline(m.EventID, m.Type, string(m.Data)))
		c.last[m.ID] = m.EventID
		return true
	case "ended":
		c.ended[m.ID] = m
	}
	return false
}

// works does a job to its end as a worker would, with some events on the way.
func (g *gateway) works(id string, texts ...string) {
	g.t.Helper()
	j := g.claim(id)
	g.within(j.Tenant(), func(tx *store.Tx) error {
		last, err := tx.Jobs().Append(j.Lease(), events.StepStarted{Step: 0, Kind: events.StepModelCall, Name: "m", Attempt: 1})
		if err != nil {
			return err
		}
		offset := 0
		for _, text := range texts {
			if _, err := tx.Jobs().Append(j.Lease(), events.TextDelta{Start: last, Offset: offset, Text: text}); err != nil {
				return err
			}
			offset += len(text)
		}
		return nil
	})
	g.end(j, store.Succeed(events.AgentRunResult{Content: strings.Join(texts, "")}))
}

func TestOneSocketShowsFiftyJobsAndTheFeedAsTheirStreamsDoAndResumesAtAnotherGateway(t *testing.T) {
	t.Parallel()
	g := start(t)
	other := g.beside()
	const jobs = 50
	var ids []string
	for range jobs {
		ids = append(ids, g.call(admin, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID)
	}
	work := func(some []string) {
		for i, id := range some {
			g.works(id, "<first> & ", "\u2028second\n", strings.Repeat("z", i))
		}
	}

	seen, k := collect(), g.socket(admin)
	k.feeds("all", "", map[string]any{"from": "beginning"})
	for _, id := range ids {
		k.follows(id, "")
	}
	work(ids[:20])
	// In the midst of things the connection breaks, and everything goes on elsewhere.
	for n := 0; n < 150; {
		if seen.takes(k.next()) {
			n++
		}
	}
	_ = k.conn.CloseNow()
	k = other.socket(admin)
	work(ids[20:30])
	k.feeds("all", seen.last["all"], map[string]any{"from": "beginning"})
	for _, id := range ids {
		if seen.ended[id].Op == "" {
			k.follows(id, seen.last[id])
		}
	}
	work(ids[30:])
	feed := g.reads(admin, "?from=beginning")
	var want []string
	for len(want) < jobs*7 {
		if f := feed.next(); f.event != "" {
			want = append(want, outline(f.id, f.event, f.data))
		}
	}
	for len(seen.lines["all"]) < len(want) || len(seen.ended) < jobs {
		seen.takes(k.next())
	}
	for _, id := range ids {
		if got, want := seen.lines[id], g.logOf(admin, id); !slices.Equal(got, want) {
			t.Errorf("job %s: %q, want %q", id, got, want)
		}
		if end := seen.ended[id]; end.Reason != "job.ended" || end.Error != nil {
			t.Errorf("job %s ended with %+v", id, end)
		}
	}
	if got := seen.lines["all"]; !slices.Equal(got, want) {
		t.Errorf("the feed showed %d events, want %d: %q, want %q", len(got), len(want), got, want)
	}

	// An id whose subscription has ended is free, and a job that has ended is told from any place on.
	log := g.logOf(admin, ids[0])
	for i, line := range log {
		at, _, _ := strings.Cut(line, " ")
		again := collect()
		k.follows(ids[0], at)
		for again.ended[ids[0]].Op == "" {
			again.takes(k.next())
		}
		if got := again.lines[ids[0]]; !slices.Equal(got, log[i+1:]) {
			t.Errorf("after %s: %q, want %q", at, got, log[i+1:])
		}
	}
	k.alive()
}

func TestAFeedOnASocketIsFilteredAndShowsWhereItStandsBehindWhatWasNotToBeSeen(t *testing.T) {
	t.Parallel()
	// Nobody answers pings while the test does something else, which may take two more of these.
	g := start(t, "STREAM_HEARTBEAT", "4s")
	k := g.socket(admin)
	runsOnly := k.feeds("runs", "", map[string]any{"kinds": []string{"agent.run"}, "types": []string{"job.state"}}).EventID
	g.embed(admin, 1)
	m := k.next()
	if m.Op != "position" || m.ID != "runs" || m.EventID == "" || m.EventID == runsOnly {
		t.Fatalf("behind an event that was not to be seen: %+v", m)
	}
	run := g.call(admin, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	g.works(run, "text")
	for _, seq := range []int{1, 2, 5} {
		for m = k.next(); m.Op == "position"; m = k.next() {
		}
		if m.Op != "event" || m.Type != "job.state" || !strings.Contains(string(m.Data), run) || !strings.Contains(string(m.Data), `"seq":`+strconv.Itoa(seq)) {
			t.Errorf("the state of number %d came as %+v %s", seq, m, m.Data)
		}
	}
	mine := g.socket(member)
	own := g.embed(member, 1)[0]
	mine.feeds("mine", "", map[string]any{"since": "0001-01-01T00:00:00Z"})
	for m = mine.next(); m.Op == "position"; m = mine.next() {
	}
	if m.Op != "event" || !strings.Contains(string(m.Data), own) {
		t.Errorf("a member sees %+v %s", m, m.Data)
	}
}

func TestASocketEndsWithItsTokenUnlessAnotherOneComesInTime(t *testing.T) {
	t.Parallel()
	g := start(t)
	job := g.embed(member, 1)[0]
	long := g.token(member)
	brief := g.beside("ACCESS_TOKEN_TTL", "8s")
	short := func() string { return brief.login(member, password).Tokens.Access }
	left, kept := g.opens("Authorization", "Bearer "+short()), g.opens("Sec-WebSocket-Protocol", "copilot.v1, bearer."+short())
	began := kept.next()
	if m := kept.asks(map[string]string{"op": "authenticate", "token": long}); m.Op != "authenticated" || !m.ExpiresAt.After(began.ExpiresAt) {
		t.Errorf("another token: %+v after %s", m, began.ExpiresAt)
	}
	kept.follows(job, "")
	for _, want := range []string{"subscribed", "event"} {
		if m := kept.next(); m.Op != want {
			t.Fatalf("following: %+v, want %s", m, want)
		}
	}
	// A bad token changes nothing.
	if m := kept.asks(map[string]string{"op": "authenticate", "token": g.expired()}); m.Error == nil || m.Error.Code != "token.expired" {
		t.Errorf("an old token: %+v", m)
	}
	left.closed("the token has expired", 4401, "token.expired")
	g.eventually("the first token has expired", func() bool { return time.Now().After(began.ExpiresAt) })
	kept.alive()
	if m := kept.asks(map[string]string{"op": "authenticate", "token": short()}); m.Op != "authenticated" {
		t.Errorf("a third token: %+v", m)
	}
	kept.closed("so has the third", 4401, "token.expired")
}

func TestAccessThatIsTakenAwayEndsWhatNeededIt(t *testing.T) {
	t.Parallel()
	g := start(t)
	run := g.call(admin, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	removed := g.newcomer("rita", access.ProjectManager)
	k := g.opens(removed.header()...)
	k.next()
	own := g.callFrom(t, "", "POST", "/v1/embeddings", `{"texts":["a"]}`, removed.header()...).wants(202).job().ID
	for _, id := range []string{run, own} {
		k.follows(id, "")
		for _, want := range []string{"subscribed", "event"} {
			if m := k.next(); m.Op != want || m.ID != id {
				t.Fatalf("following %s: %+v, want %s", id, m, want)
			}
		}
	}
	at := k.feeds("all", "", map[string]any{}).EventID
	g.call(admin, "DELETE", "/v1/projects/"+acmeProject+"/members/"+removed.id, nil).wants(204)
	reasons := map[string]string{}
	for len(reasons) < 2 {
		m := k.next()
		// A feed may begin a moment before now.
		if m.Op == "event" && m.ID == "all" {
			continue
		}
		if reasons[m.ID] = m.Reason; m.Op != "ended" || m.Error == nil || m.Error.Detail == "" {
			t.Errorf("ended with %+v", m)
		}
	}
	if want := map[string]string{"all": "access.changed", run: "access.revoked"}; !maps.Equal(reasons, want) {
		t.Errorf("ended: %v, want %v", reasons, want)
	}
	g.end(g.claim(run), store.Succeed(nil))
	g.end(g.claim(own), store.Succeed(nil))
	for m := k.next(); m.Op != "ended"; m = k.next() {
		if m.ID != own {
			t.Errorf("without the project came %+v", m)
		}
	}
	// What is still to be seen goes on from where it was.
	k.feeds("all", at, map[string]any{})
	if m := k.next(); m.Op != "event" || strings.Contains(string(m.Data), run) {
		t.Errorf("the feed goes on with %+v", m)
	}

	for what, c := range map[string]struct {
		role string
		take func(person)
	}{
		"a deactivated user": {access.Member, func(p person) { g.call(admin, "DELETE", "/v1/users/"+p.id, nil).wants(200) }},
		"a logout": {access.Member, func(p person) {
			g.callFrom(t, "", "POST", "/v1/auth/logout", nil, p.header()...).wants(200)
		}},
		"a role that reads no jobs": {access.Member, func(p person) {
			var role struct{ ID string }
			g.call(admin, "POST", "/v1/roles", map[string]any{"name": "Nobody"}).wants(201).into(&role)
			g.call(admin, "POST", "/v1/users/"+p.id+"/role", map[string]string{"role_id": role.ID}).wants(200)
		}},
	} {
		p := g.newcomer(strings.ReplaceAll(what, " ", ""), c.role)
		k := g.opens(p.header()...)
		k.next()
		k.feeds("mine", "", map[string]any{})
		c.take(p)
		k.closed(what, 4403, "access.revoked")
	}
}

// stalls opens a socket over a connection with little room, whose messages nobody reads yet and whose pings nobody answers.
func (g *gateway) stalls(as string) *socket {
	g.t.Helper()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(64 << 10)
		}
		return conn, err
	}
	narrow := &http.Client{Transport: &http.Transport{DialContext: dial}}
	conn, _, err := websocket.Dial(g.t.Context(), g.url+"/api/v1/ws", &websocket.DialOptions{
		HTTPClient: narrow, HTTPHeader: http.Header{"Authorization": {"Bearer " + g.token(as)}},
		OnPingReceived: func(context.Context, []byte) bool { return false },
	})
	if err != nil {
		g.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	g.t.Cleanup(func() {
		_ = conn.CloseNow()
		narrow.CloseIdleConnections()
	})
	return &socket{g.t, conn}
}

func TestASlowReaderIsSentAwayWithTheReasonAndNobodyElseIsHeldUp(t *testing.T) {
	t.Parallel()
	// It does not answer pings either, which must not be why.
	g := start(t, "WEBSOCKET_READ_TIMEOUT", "10s", "STREAM_HEARTBEAT", "1h")
	other := g.beside()
	run := g.call(admin, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	slow, fast := g.stalls(admin), g.socket(admin)
	slow.follows(run, "")
	fast.follows(run, "")
	g.eventually("both follow the job", func() bool { return strings.Contains(g.metrics(), "copilot_socket_subscriptions 2\n") })
	// More than what fits into the buffers of both ends.
	texts := make([]string, 256)
	for i := range texts {
		texts[i] = strings.Repeat(strconv.Itoa(i%10), 64<<10)
	}
	whole, all := collect(), make(chan struct{})
	go func() {
		defer close(all)
		for whole.ended[run].Op == "" {
			m, err := fast.read()
			if err != nil {
				t.Errorf("the fast reader was cut off: %v", err)
				return
			}
			whole.takes(m)
		}
	}()
	g.works(run, texts...)
	<-all
	g.eventually("the slow one follows no more", func() bool { return strings.Contains(g.metrics(), "copilot_socket_subscriptions 0\n") })
	before, end := slow.ends()
	if end.Code != 4429 || end.Reason != "reader.slow" {
		t.Errorf("the slow reader was sent away with %d %q", end.Code, end.Reason)
	}
	seen := collect()
	for _, m := range before {
		seen.takes(m)
	}
	if n := len(seen.lines[run]); n == 0 || n >= len(whole.lines[run]) {
		t.Errorf("the slow reader saw %d events of %d", n, len(whole.lines[run]))
	}
	again := other.socket(admin)
	again.follows(run, seen.last[run])
	for seen.ended[run].Op == "" {
		seen.takes(again.next())
	}
	if got, want := seen.lines[run], whole.lines[run]; !slices.Equal(got, want) {
		t.Errorf("resumed, it saw %d events, want %d", len(got), len(want))
	}
	g.eventually("it is counted", func() bool {
		return strings.Contains(g.metrics(), `copilot_socket_closed_total{reason="reader.slow"} 1`)
	})
}

func TestASilentClientIsGivenUp(t *testing.T) {
	t.Parallel()
	g := start(t, "STREAM_HEARTBEAT", "3s")
	silent, lively := g.stalls(admin), g.socket(admin)
	answered := make(chan error, 1)
	go func() {
		for {
			if _, _, err := lively.conn.Read(context.WithoutCancel(t.Context())); err != nil {
				answered <- err
				return
			}
		}
	}()
	g.eventually("the silent one is gone", func() bool {
		return strings.Contains(g.metrics(), `copilot_socket_closed_total{reason="client.silent"} 1`)
	})
	if _, end := silent.ends(); end.Code != 4408 || end.Reason != "client.silent" {
		t.Errorf("closed with %+v", end)
	}
	select {
	case err := <-answered:
		t.Errorf("who answers pings was sent away: %v", err)
	default:
	}
	_ = lively.conn.CloseNow()
	if err := <-answered; err == nil {
		t.Error("a socket was read that is closed")
	}
}

func TestShutdownSendsSocketsToAnotherGateway(t *testing.T) {
	t.Parallel()
	g := start(t)
	other := g.beside()
	run := g.call(admin, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	k, idle, nobody := g.socket(admin), g.socket(member), g.opens()
	k.follows(run, "")
	seen := collect()
	for seen.last[run] != "1" {
		seen.takes(k.next())
	}
	stopped := time.Now()
	ended := make(chan struct{})
	go func() {
		g.http.CloseIdleConnections()
		g.stop()
		close(ended)
	}()
	k.closed("one that follows a job", websocket.StatusServiceRestart, "stream.moving")
	idle.closed("an idle one", websocket.StatusServiceRestart, "stream.moving")
	nobody.closed("one of nobody", websocket.StatusServiceRestart, "stream.moving")
	<-ended
	if took := time.Since(stopped); took > patience {
		t.Errorf("stopping took %s", took)
	}
	if _, _, err := g.dials("Authorization", "Bearer "+g.token(admin)); err == nil {
		t.Error("a gateway that has shut down opens sockets")
	}
	k = other.socket(admin)
	k.follows(run, seen.last[run])
	g.works(run, "after the move")
	for seen.ended[run].Op == "" {
		seen.takes(k.next())
	}
	if got, want := seen.lines[run], other.logOf(admin, run); !slices.Equal(got, want) {
		t.Errorf("saw %q, want %q", got, want)
	}
}

func TestAClientThatDoesNotPartIsCutOffWhenTheGatewayHasWaitedEnough(t *testing.T) {
	t.Parallel()
	g := start(t, "DRAIN_TIMEOUT", "1s")
	k := g.stalls(admin)
	stopped := time.Now()
	g.http.CloseIdleConnections()
	g.stop()
	if took := time.Since(stopped); took > patience {
		t.Errorf("stopping took %s", took)
	}
	// What was said is still to be read: who comes late learns why, too.
	if _, end := k.ends(); end.Code != websocket.StatusServiceRestart {
		t.Errorf("closed with %+v", end)
	}
}
