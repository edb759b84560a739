package httpapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

// received is a request that a receiver got.
type received struct {
	id, timestamp, signature, media, body string
}

// signedWith reports whether one of the signatures was made with the secret, as a receiver would find out.
func (r received) signedWith(secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) < 24 {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", r.id, r.timestamp, r.body)
	return slices.Contains(strings.Split(r.signature, " "), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// receiver is somebody's server.
type receiver struct {
	t   *testing.T
	url string

	mu  sync.Mutex
	got []received
	// answers are given one after the other, and then 204s.
	answers []http.HandlerFunc
}

func receive(t *testing.T, answers ...http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{t: t, answers: answers}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{
			req.Header.Get("Webhook-Id"), req.Header.Get("Webhook-Timestamp"), req.Header.Get("Webhook-Signature"),
			req.Header.Get("Content-Type"), string(body),
		})
		answer := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
		if len(r.answers) > 0 {
			answer, r.answers = r.answers[0], r.answers[1:]
		}
		r.mu.Unlock()
		answer(w, req)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/hook"
	return r
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, http.StatusText(code))
	}
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

type webhookBody struct {
	ID, URL, Secret string
	IsActive        bool       `json:"is_active"`
	DisabledReason  string     `json:"disabled_reason"`
	FailingSince    *time.Time `json:"failing_since"`
}

type deliveryBody struct {
	ID, Status   string
	MessageID    string `json:"message_id"`
	EventType    string `json:"event_type"`
	AttemptCount int    `json:"attempt_count"`
	Attempts     []struct {
		StatusCode      int `json:"status_code"`
		Response, Error string
	}
}

// hooked is a gateway that may call receivers of this machine, and tries again soon.
func hooked(t *testing.T, settings ...string) *gateway {
	t.Helper()
	return start(t, append([]string{"EGRESS_ALLOWED_NETWORKS", "127.0.0.1/32", "WEBHOOK_RETRIES", "20ms,20ms,20ms"}, settings...)...)
}

func (g *gateway) webhook(as, url string, types ...string) (w webhookBody) {
	g.t.Helper()
	g.call(as, "POST", "/v1/webhooks", map[string]any{"url": url, "event_types": types}).wants(201).into(&w)
	return w
}

// ends runs a job of the agent to an end, and returns its id.
func (g *gateway) ends(e store.Ending) string {
	g.t.Helper()
	id := g.call(member, "POST", runs, `{"user_input":"Taxi?"}`).wants(202).job().ID
	g.end(g.claim(id), e)
	return id
}

// deliveries lists what was sent to a webhook, the newest first.
func (g *gateway) deliveries(webhook, query string) []deliveryBody {
	g.t.Helper()
	var page struct{ Data []deliveryBody }
	g.call(admin, "GET", "/v1/webhooks/"+webhook+"/deliveries"+query, nil).wants(200).into(&page)
	return page.Data
}

// settled waits until the only delivery of a webhook is no longer under way, and reads it.
func (g *gateway) settled(webhook, as string) (d deliveryBody) {
	g.t.Helper()
	g.eventually("the delivery is "+as, func() bool {
		all := g.deliveries(webhook, "")
		return len(all) == 1 && all[0].Status == as
	})
	g.call(admin, "GET", "/v1/webhooks/"+webhook+"/deliveries/"+g.deliveries(webhook, "")[0].ID, nil).wants(200).into(&d)
	return d
}

func TestAWebhookIsToldOfWhatItAskedFor(t *testing.T) {
	t.Parallel()
	g := hooked(t)
	r, theirs := receive(t), receive(t)
	g.ends(store.Succeed(nil)) // before there was a webhook
	made := g.call(admin, "POST", "/v1/webhooks", map[string]any{
		"url": r.url, "event_types": []string{"job.succeeded", "job.dead", "job.cancelled"}, "job_kinds": []string{"agent.run"},
	}).wants(201)
	var w webhookBody
	made.into(&w)
	if made.header.Get("Cache-Control") != "no-store" || made.header.Get("Location") != "/api/v1/webhooks/"+w.ID || !w.IsActive {
		t.Errorf("made %+v with %v", w, made.header)
	}
	g.webhook(stranger, theirs.url, "job.succeeded", "job.failed", "job.cancelled", "job.dead")

	done := g.ends(store.Succeed(events.AgentRunResult{Content: "Yes"}))
	large := g.ends(store.Succeed(events.AgentRunResult{Content: strings.Repeat("long ", 5000)}))
	g.ends(store.Fail(events.Failure{Code: "x.bad", Message: "Bad."}, false)) // did not ask
	dead := g.ends(store.Fail(events.Failure{Code: "x.worn", Message: "Worn out."}, true))
	gone := g.call(member, "POST", runs, `{"user_input":"Taxi?"}`).wants(202).job().ID
	g.call(member, "POST", "/v1/jobs/"+gone+"/cancel", nil).wants(200)
	gathered := g.claim(g.call(member, "POST", runs, `{"user_input":"Taxi?"}`).wants(202).job().ID)
	if err := g.engine.End(t.Context(), gathered, store.Succeed(nil)); err != nil {
		t.Fatal(err)
	}
	embedding := g.call(member, "POST", "/v1/embeddings", `{"texts":["a"]}`).wants(202).job().ID // of another kind
	g.end(g.claim(embedding), store.Succeed(nil))

	g.eventually("five messages are delivered", func() bool { return len(g.deliveries(w.ID, "?status=delivered")) == 5 })
	told := map[string]string{}
	for _, m := range r.all() {
		at, err := strconv.ParseInt(m.timestamp, 10, 64)
		if !strings.HasPrefix(m.id, "msg_") || err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute || m.media != "application/json" ||
			!m.signedWith(w.Secret) {
			t.Errorf("the message is %+v", m)
		}
		for name, id := range map[string]string{"done": done, "large": large, "dead": dead, "gone": gone, "gathered": gathered.ID.String()} {
			if strings.Contains(m.body, `"id":"`+id+`"`) {
				told[name] += m.body
			}
		}
	}
	for name, fragments := range map[string][]string{
		"done":     {`{"type":"job.succeeded","timestamp":"`, `"content":"Yes"`, `"links":{"self":"/api/v1/jobs/` + done},
		"large":    {`"type":"job.succeeded"`, `"result_omitted":true`},
		"dead":     {`"type":"job.dead"`, `"code":"x.worn"`, `"status":"failed"`},
		"gone":     {`"type":"job.cancelled"`, `"status":"cancelled"`},
		"gathered": {`"type":"job.succeeded"`},
	} {
		for _, f := range fragments {
			if strings.Count(told[name], f) != 1 {
				t.Errorf("of %s was told %.600s, want once %s", name, told[name], f)
			}
		}
	}
	if got := theirs.all(); len(got) != 0 {
		t.Errorf("another organization was told of %+v", got)
	}
	g.call(admin, "GET", "/v1/jobs?limit=100", nil).wants(200).lacks("webhook.deliver")
	g.call(admin, "GET", "/v1/jobs?kind=webhook.deliver", nil).wants(200).has(`"kind":"webhook.deliver"`)
	g.call(member, "GET", "/v1/jobs?kind=webhook.deliver", nil).wants(200).has(`"data":[]`)
	for _, path := range []string{"/v1/webhooks", "/v1/webhooks/" + w.ID, "/v1/audit-logs", "/v1/webhooks/" + w.ID + "/deliveries"} {
		g.call(admin, "GET", path, nil).wants(200).lacks(w.Secret, "whsec_")
	}
	if strings.Contains(g.log.String(), w.Secret[10:30]) {
		t.Error("the log holds the secret")
	}
	g.call(admin, "GET", "/v1/audit-logs?resource_type=webhook", nil).wants(200).has("webhook.create", `"secret":"[not kept]"`)
}

func TestWebhooksAreChangedListedAndDeleted(t *testing.T) {
	t.Parallel()
	g := hooked(t)
	r := receive(t)
	w := g.webhook(admin, r.url, "job.succeeded")
	other := g.webhook(admin, r.url+"/other", "job.failed")
	path := "/v1/webhooks/" + w.ID
	tag := g.call(admin, "GET", path, nil).wants(200).header.Get("ETag")
	g.call(admin, "GET", path, nil, "If-None-Match", tag).wants(304)
	g.call(admin, "PATCH", path, `{"description":"x"}`, "If-Match", `"elsewhere"`).wants(412)
	g.call(admin, "PATCH", path, `{"description":"Tickets","job_kinds":["document.ingest"]}`, "If-Match", tag).wants(200).
		has(`"description":"Tickets"`, `"job_kinds":["document.ingest"]`)
	g.call(admin, "GET", "/v1/webhooks?event_type=job.failed", nil).wants(200).has(other.ID, `"total":1`).lacks(w.ID)
	g.call(admin, "GET", "/v1/webhooks?search=tick", nil).wants(200).has(w.ID).lacks(other.ID)
	var page struct {
		NextCursor string `json:"next_cursor"`
	}
	g.call(admin, "GET", "/v1/webhooks?limit=1&sort=created_at", nil).wants(200).has(w.ID).into(&page)
	g.call(admin, "GET", "/v1/webhooks?limit=1&sort=created_at&cursor="+page.NextCursor, nil).wants(200).has(other.ID)

	for _, bad := range []string{
		`{"url":"http://10.0.0.1/","event_types":["job.failed"]}`, `{"url":"http://[::ffff:169.254.169.254]/","event_types":["job.failed"]}`,
		`{"url":"ftp://example.com/","event_types":["job.failed"]}`, `{"url":"http://u:p@example.com/","event_types":["job.failed"]}`,
		`{"url":"https://example.com/","event_types":[]}`, `{"url":"https://example.com/","event_types":["job.exploded"]}`,
		`{"url":"https://example.com/"}`,
	} {
		g.call(admin, "POST", "/v1/webhooks", bad).wants(422)
	}
	g.call(admin, "PATCH", path, `{"url":"http://192.168.0.1/"}`).wants(422).has("url.not_allowed")

	g.call(admin, "PATCH", path, `{"is_active":false,"job_kinds":[]}`).wants(200).has(`"is_active":false`)
	g.ends(store.Succeed(nil))
	g.call(admin, "PATCH", path, `{"is_active":true}`).wants(200)
	g.ends(store.Succeed(nil))
	g.settled(w.ID, "delivered")
	if got := r.all(); len(got) != 1 {
		t.Errorf("the webhook was told %d times, want once: it was off before", len(got))
	}
	g.call(admin, "DELETE", path, nil).wants(204)
	g.call(admin, "GET", path, nil).wants(404).has("webhook.not_found")
	g.call(admin, "GET", path+"/deliveries", nil).wants(404)
	g.call(admin, "GET", "/v1/audit-logs?resource_id="+w.ID, nil).wants(200).has("webhook.update", "webhook.delete")
	g.sql(`INSERT INTO webhooks (id, organization_id, url, event_types, secret)
		SELECT gen_random_uuid(), $1, 'https://example.com', '{job.dead}', '' FROM generate_series(1, 49)`, acmeOrg)
	g.call(admin, "POST", "/v1/webhooks", map[string]any{"url": r.url, "event_types": []string{"job.dead"}}).wants(409).has("webhook.too_many")
}

func TestADeliveryIsTriedAgainAndSentAgain(t *testing.T) {
	t.Parallel()
	g := hooked(t)
	elsewhere := receive(t)
	r := receive(t, status(500), http.RedirectHandler(elsewhere.url, http.StatusTemporaryRedirect).ServeHTTP, status(503), status(418))
	w := g.webhook(admin, r.url, "job.succeeded")
	g.ends(store.Succeed(nil))

	d := g.settled(w.ID, "failed")
	codes := make([]int, len(d.Attempts))
	for i, a := range d.Attempts {
		codes[i] = a.StatusCode
	}
	if !slices.Equal(codes, []int{500, 307, 503, 418}) || d.AttemptCount != 4 || d.Attempts[0].Response != "Internal Server Error" ||
		!strings.Contains(d.Attempts[3].Error, "418") {
		t.Errorf("the delivery is %+v", d)
	}
	if len(elsewhere.all()) != 0 {
		t.Error("a redirect was followed")
	}
	var jobs struct{ Data []job }
	g.eventually("its job has failed", func() bool {
		g.call(admin, "GET", "/v1/jobs?kind=webhook.deliver&status=failed", nil).wants(200).into(&jobs)
		return len(jobs.Data) == 1 && jobs.Data[0].Error.Code == "webhook.undelivered"
	})
	g.call(admin, "GET", "/v1/jobs?kind=webhook.deliver&dead=true", nil).wants(200).has(`"data":[]`)
	g.call(admin, "POST", "/v1/jobs/"+jobs.Data[0].ID+"/retry", nil).wants(409).has("job.delivery")
	if g.webhookNow(w.ID).FailingSince == nil {
		t.Error("the webhook does not say that it fails")
	}
	again := "/v1/webhooks/" + w.ID + "/deliveries/" + d.ID + "/redeliver"
	g.call(admin, "POST", again, nil).wants(202).has(`"status":"pending"`, d.MessageID)
	d = g.settled(w.ID, "delivered")
	if d.AttemptCount != 5 || g.webhookNow(w.ID).FailingSince != nil {
		t.Errorf("after it was sent again: %+v", d)
	}
	g.call(admin, "POST", again, nil).wants(202)
	g.eventually("what was delivered is delivered again", func() bool { return len(r.all()) == 6 })
	for _, m := range r.all() {
		if m.id != d.MessageID || !m.signedWith(w.Secret) {
			t.Errorf("one of the attempts is %+v, want the id %s", m, d.MessageID)
		}
	}
	g.call(admin, "GET", "/v1/audit-logs?resource_type=webhook_delivery", nil).wants(200).has("webhook_delivery.redeliver")
}

func (g *gateway) webhookNow(id string) (w webhookBody) {
	g.t.Helper()
	g.call(admin, "GET", "/v1/webhooks/"+id, nil).wants(200).into(&w)
	return w
}

func TestAReceiverThatWantsNoMoreIsLeftAlone(t *testing.T) {
	t.Parallel()
	g := hooked(t)
	r := receive(t, status(http.StatusGone))
	w := g.webhook(admin, r.url, "job.succeeded")
	g.ends(store.Succeed(nil))
	if d := g.settled(w.ID, "failed"); d.AttemptCount != 1 {
		t.Errorf("the delivery is %+v", d)
	}
	if now := g.webhookNow(w.ID); now.IsActive || now.DisabledReason != "gone" {
		t.Errorf("the webhook is %+v", now)
	}
	g.call(admin, "GET", "/v1/audit-logs?action=webhook.disable", nil).wants(200).has(w.ID, `"actor_id":null`, `"disabled_reason":"gone"`)
	g.ends(store.Succeed(nil))
	g.call(admin, "PATCH", "/v1/webhooks/"+w.ID, `{"is_active":true}`).wants(200).lacks("disabled_reason")

	// Nothing was delivered for six days.
	r.mu.Lock()
	r.answers = []http.HandlerFunc{status(500)}
	r.mu.Unlock()
	g.sql("UPDATE webhooks SET failing_since = now() - interval '6 days' WHERE id = $1", w.ID)
	g.ends(store.Succeed(nil))
	g.eventually("the webhook is turned off", func() bool { return g.webhookNow(w.ID).DisabledReason == "failing" })
	if got := len(r.all()); got != 2 {
		t.Errorf("the receiver was called %d times, want 2", got)
	}
	// A test is sent all the same.
	g.call(admin, "POST", "/v1/webhooks/"+w.ID+"/test", nil).wants(202).has(`"event_type":"ping"`)
	g.eventually("the test arrives", func() bool { return len(r.all()) == 3 })
	if last := r.all()[2]; !strings.Contains(last.body, `"type":"ping"`) || !last.signedWith(w.Secret) {
		t.Errorf("the test is %+v", last)
	}
}

func TestMessagesCarryBothSignaturesWhileASecretIsReplaced(t *testing.T) {
	t.Parallel()
	g := hooked(t)
	r := receive(t)
	w := g.webhook(admin, r.url, "job.succeeded")
	rotate := func(body string) string {
		var made webhookBody
		a := g.call(admin, "POST", "/v1/webhooks/"+w.ID+"/rotate-secret", body).wants(200)
		a.into(&made)
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("the answer may be kept: %v", a.header)
		}
		return made.Secret
	}
	ping := func() received {
		n := len(r.all())
		g.call(admin, "POST", "/v1/webhooks/"+w.ID+"/test", nil).wants(202)
		g.eventually("the test arrives", func() bool { return len(r.all()) == n+1 })
		return r.all()[n]
	}
	second := rotate(`{}`)
	if m := ping(); second == w.Secret || !m.signedWith(w.Secret) || !m.signedWith(second) {
		t.Errorf("while secrets overlap: %+v", m)
	}
	g.sql("UPDATE webhooks SET previous_until = now() - interval '1 s' WHERE id = $1", w.ID)
	if m := ping(); m.signedWith(w.Secret) || !m.signedWith(second) {
		t.Errorf("after the overlap: %+v", m)
	}
	third := rotate(`{"overlap_seconds":0}`)
	if m := ping(); m.signedWith(second) || !m.signedWith(third) {
		t.Errorf("without an overlap: %+v", m)
	}
	g.call(admin, "GET", "/v1/audit-logs?action=webhook.rotate_secret", nil).wants(200).has("[not kept]").lacks("whsec_")
	var sealed int
	row := g.db.Conn(t, g.db.OwnerURL).QueryRow(t.Context(), "SELECT count(*) FROM webhooks WHERE position('whsec_'::bytea IN secret) = 0")
	if err := row.Scan(&sealed); err != nil || sealed != 1 {
		t.Errorf("the database can be read: %d, %v", sealed, err)
	}
}

func TestWebhooksDoNotReachIntoTheNetwork(t *testing.T) {
	t.Parallel()
	g := start(t, "WEBHOOK_RETRIES", "20ms")
	r := receive(t)
	// A name passes when the webhook is made, and is judged by what it leads to when it is called.
	w := g.webhook(admin, strings.Replace(r.url, "127.0.0.1", "localhost", 1), "job.succeeded")
	g.ends(store.Succeed(nil))
	d := g.settled(w.ID, "failed")
	if len(r.all()) != 0 || d.AttemptCount != 2 || !strings.Contains(d.Attempts[0].Error, "not public") || d.Attempts[0].StatusCode != 0 {
		t.Errorf("the delivery is %+v, the receiver got %d", d, len(r.all()))
	}
}

func TestADeliveryOutlivesTheGatewayThatSendsIt(t *testing.T) {
	t.Parallel()
	g := hooked(t)
	called, answer := make(chan struct{}), make(chan struct{})
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		close(called)
		<-answer
		w.WriteHeader(http.StatusNoContent)
	})
	w := g.webhook(admin, r.url, "job.succeeded")
	g.ends(store.Succeed(nil))
	<-called
	// The gateway shows no more sign of life, as one that was killed or frozen.
	g.sql("UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE kind = 'webhook.deliver' AND status = 'running'")
	d := g.settled(w.ID, "delivered")
	close(answer)
	if got := r.all(); len(got) != 2 || got[0].id != got[1].id || got[0].id != d.MessageID || d.AttemptCount != 1 {
		t.Errorf("got %+v for %+v", got, d)
	}
}

func TestEveryEndIsToldOnceWithSeveralGateways(t *testing.T) {
	t.Parallel()
	g := hooked(t)
	g.beside("EGRESS_ALLOWED_NETWORKS", "127.0.0.1/32")
	r := receive(t)
	w := g.webhook(admin, r.url, "job.succeeded")
	const n = 20
	var jobs []*store.Job
	for range n {
		jobs = append(jobs, g.claim(g.call(member, "POST", runs, `{"user_input":"Taxi?"}`).wants(202).job().ID))
	}
	var all sync.WaitGroup
	for i, j := range jobs {
		all.Go(func() {
			var err error
			if i%2 == 0 {
				err = g.engine.End(t.Context(), j, store.Succeed(nil))
			} else {
				err = g.store.InTenant(t.Context(), j.Tenant(), func(tx *store.Tx) error {
					return tx.Jobs().End(j.Lease(), store.Succeed(nil))
				})
			}
			if err != nil {
				t.Errorf("end: %v", err)
			}
		})
	}
	all.Wait()
	g.eventually("all is delivered", func() bool { return len(g.deliveries(w.ID, "?status=delivered&limit=100")) == n })
	seen := map[string]int{}
	for _, m := range r.all() {
		seen[m.id]++
	}
	if len(seen) != n || len(r.all()) != n {
		t.Errorf("got %d messages with %d ids, want %d", len(r.all()), len(seen), n)
	}
}
