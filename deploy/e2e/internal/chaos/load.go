package chaos

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// load is all clients of a run.
type load struct {
	gateways []string
	tokens   []string // by tenant
	http     *http.Client
	model    *meter
	seed     uint64

	plans func(n int) plan
	size  int

	mu      sync.Mutex
	clients []*client
	retries map[string]string // jobs that somebody was told to be done again, by the ones before
	lies    []string          // answers that nobody should have got

	work  sync.WaitGroup
	feeds []*feedReader

	submitted, accepted, ended atomic.Int64
	retried                    atomic.Int64 // submits that were repeated because they were not answered
}

// client carries out one plan and remembers what it was told.
type client struct {
	plan

	load     *load
	rand     *rand.Rand
	sessions []string // of its script

	runAt time.Time // when a delayed job may begin

	mu        sync.Mutex
	answered  [][]string // jobs, in the order of the answers; of a batch several each
	cancelled bool       // it was told so
	reader    *history.Reader
	refused   string // the answer that no repetition would change
}

// newLoad logs in and decides what the clients do.
func newLoad(ctx context.Context, o Options, s *system) (*load, error) {
	l := &load{
		gateways: s.gateways(), model: s.model, seed: o.Seed, size: o.Jobs, retries: map[string]string{},
		plans: func(n int) plan { return makePlan(o.Seed, n, o.Jobs, o.For*9/10) },
		http:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 20 * time.Second}},
	}
	for _, t := range tenants() {
		token, err := l.login(ctx, t.admin)
		if err != nil {
			return nil, err
		}
		l.tokens = append(l.tokens, token)
	}
	refuses := []reaction{{Repeat: forever, Error: &failure{Code: http.StatusBadRequest}}}
	if err := l.model.script(ctx, embedSession(poison), refuses); err != nil {
		return nil, err
	}
	for n := range tenants() {
		organization, err := s.hooks.subscribe(ctx, l, n)
		if err != nil {
			return nil, err
		}
		for i := range readersOfFeed {
			l.feeds = append(l.feeds, &feedReader{
				load: l, tenant: n, client: &client{load: l, rand: rand.New(rand.NewPCG(o.Seed+4, uint64(n*readersOfFeed+i)))},
				feed: history.NewFeed(fmt.Sprintf("reader %d of the feed of %s", i+1, tenants()[n].admin), organization),
			})
		}
	}
	return l, nil
}

// begin returns the next client. Plans are made when their time comes, because all of them at once are much.
func (l *load) begin(n int) *client {
	c := &client{plan: l.plans(n), load: l, rand: rand.New(rand.NewPCG(l.seed+1, uint64(n)+1))}
	c.sessions = slices.Collect(maps.Keys(c.script))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients = append(l.clients, c)
	return c
}

// follow reads the feeds until ctx ends.
func (l *load) follow(ctx context.Context) {
	var all sync.WaitGroup
	for _, f := range l.feeds {
		all.Go(func() { f.run(ctx) })
	}
	all.Wait()
}

// loginWithin is how long a login may take, on a machine that does other things.
const loginWithin = time.Minute

func (l *load) login(ctx context.Context, username string) (string, error) {
	body, err := json.Marshal(map[string]string{"username": username, "password": seededPassword})
	if err != nil {
		return "", err
	}
	var out struct {
		Tokens struct {
			AccessToken string `json:"access_token"`
		} `json:"tokens"`
	}
	a, err := l.send(ctx, l.gateways[0], request{method: http.MethodPost, path: "/api/v1/auth/login", body: body, within: loginWithin})
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", a.status, a.body)
	}
	if err == nil {
		err = json.Unmarshal(a.body, &out)
	}
	if err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	return out.Tokens.AccessToken, nil
}

// run sends the clients off, each at its time, and returns when the last one has begun.
func (l *load) run(ctx context.Context) {
	began := time.Now()
	var recent []*client
	for n := range l.size {
		c := l.begin(n)
		if !pause(ctx, time.Until(began.Add(c.at))) {
			return
		}
		if recent = append(recent, c); len(recent) > remembered {
			old := recent[0]
			recent = recent[1:]
			l.work.Go(func() { old.forget(ctx) })
		}
		l.work.Go(func() { c.live(ctx) })
	}
}

// remembered is for how many clients the model's stand-in keeps what it was asked.
const remembered = 300

// forget lets the model's stand-in forget what it was asked.
func (c *client) forget(ctx context.Context) {
	for _, session := range c.sessions {
		c.load.model.forget(ctx, session)
	}
}

// request is one call.
type request struct {
	method, path, token, key string
	body                     []byte
	media                    string        // of the body; empty means JSON
	within                   time.Duration // zero means answersWithin
}

// answer is what came back, read whole.
type answer struct {
	status int
	body   []byte
}

// answersWithin is how long a client waits for an answer before it asks again.
const answersWithin = 6 * time.Second

func (l *load) send(ctx context.Context, gateway string, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.within, answersWithin))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, gateway+r.path, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	if r.media == "" {
		r.media = "application/json"
	}
	req.Header.Set("Content-Type", r.media)
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, body}, err
}

// live does what the plan says.
func (c *client) live(ctx context.Context) {
	for session, reactions := range c.script {
		if err := c.load.model.script(ctx, session, reactions); err != nil {
			c.refuse(err.Error())
			return
		}
	}
	if c.delay > 0 {
		c.runAt = time.Now().Add(c.delay).UTC().Truncate(time.Millisecond)
	}
	c.load.submitted.Add(int64(c.size()))
	job := c.submit(ctx)
	// It has said all that it had to say: of many clients that is much.
	defer func() { c.script, c.document, c.texts = nil, "", nil }()
	if job == "" {
		return
	}
	c.load.accepted.Add(int64(c.size()))
	var beside sync.WaitGroup
	if c.cancelAfter > 0 {
		beside.Go(func() {
			if pause(ctx, c.cancelAfter) {
				c.cancel(ctx, job)
			}
		})
	}
	if c.again {
		beside.Go(func() {
			if pause(ctx, between(c.load.source(c.mark), 0, 3*time.Second)) {
				c.submitOnce(ctx, c.gateway())
			}
		})
	}
	if c.follows && pause(ctx, c.readsAfter) {
		c.follow(ctx, job)
	}
	if c.retries && len(c.batch) == 0 && (c.wants != events.StatusSucceeded || c.cancelAfter > 0) {
		c.retry(ctx, job)
	}
	beside.Wait()
	c.load.ended.Add(int64(c.size()))
}

// source returns randomness of one's own for a goroutine.
func (l *load) source(name string) *rand.Rand {
	var sum uint64
	for _, b := range []byte(name) {
		sum = sum*131 + uint64(b)
	}
	return rand.New(rand.NewPCG(l.seed+2, sum))
}

// gateway picks one. It may be called from any goroutine.
func (c *client) gateway() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load.gateways[c.rand.IntN(len(c.load.gateways))]
}

func (c *client) jitter(low, high time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return between(c.rand, low, high)
}

// submit hands the work in until it is accepted, always with the same key, and returns the job; empty when it never was.
func (c *client) submit(ctx context.Context) string {
	if c.twice {
		var both sync.WaitGroup
		for _, gateway := range c.load.gateways {
			both.Go(func() { c.submitOnce(ctx, gateway) })
		}
		both.Wait()
	}
	for {
		if job := c.job(); job != "" || c.refused != "" {
			return job
		}
		if !c.submitOnce(ctx, c.gateway()) && c.refused == "" {
			c.load.retried.Add(1)
			if !pause(ctx, c.jitter(50*time.Millisecond, 500*time.Millisecond)) {
				return c.job()
			}
		}
	}
}

// job is the one that the client was told of first.
func (c *client) job() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answered) == 0 {
		return ""
	}
	return c.answered[0][0]
}

// submitOnce reports whether it was accepted.
func (c *client) submitOnce(ctx context.Context, gateway string) bool {
	r, err := c.work()
	if err != nil {
		c.refuse(err.Error())
		return false
	}
	a, err := c.load.send(ctx, gateway, r)
	if err != nil {
		return false
	}
	switch {
	case a.status == http.StatusAccepted || a.status == http.StatusOK:
	case a.status >= http.StatusInternalServerError, a.status == http.StatusConflict, a.status == http.StatusTooManyRequests:
		return false
	default:
		c.refuse(fmt.Sprintf("%s %s: %d %s", r.method, r.path, a.status, a.body))
		return false
	}
	var out struct {
		ID  string   `json:"id"`
		IDs []string `json:"ids"`
	}
	err = json.Unmarshal(a.body, &out)
	if out.ID != "" {
		out.IDs = []string{out.ID}
	}
	if err != nil || len(out.IDs) == 0 {
		c.refuse(fmt.Sprintf("%s %s: %d without a job: %s", r.method, r.path, a.status, a.body))
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = append(c.answered, out.IDs)
	return true
}

func (c *client) refuse(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = why
}

// work is the request that hands the plan's work in. Its bytes are the same each time.
func (c *client) work() (r request, err error) {
	r = request{method: http.MethodPost, token: c.load.tokens[c.tenant], key: "key-" + c.mark}
	switch c.kind {
	case events.KindAgentRun:
		r.path = "/api/v1/agents/" + tenants()[c.tenant].agent + "/runs"
		r.body, err = json.Marshal(c.timed(0, map[string]any{"user_input": c.mark + " asks: what do the documents say?"}))
	case events.KindEmbeddingCreate:
		if len(c.batch) > 0 {
			r.path = "/api/v1/jobs/batch"
			r.body, err = json.Marshal(map[string]any{"jobs": c.parts()})
			break
		}
		r.path = "/api/v1/embeddings"
		r.body, err = json.Marshal(c.timed(0, map[string]any{"texts": c.texts}))
	default:
		r.path = "/api/v1/documents/upload"
		r.body, r.media, err = c.form()
	}
	return r, err
}

// parts are the jobs of a batch.
func (c *client) parts() (jobs []map[string]any) {
	for n, texts := range c.batch {
		jobs = append(jobs, map[string]any{"embeddings": c.timed(n, map[string]any{"texts": texts})})
	}
	return jobs
}

// timed says when the nth job may begin.
func (c *client) timed(n int, job map[string]any) map[string]any {
	if at := c.notBefore(n); !at.IsZero() {
		job["run_at"] = at
	}
	return job
}

// notBefore is when the nth job may begin; the zero time is at once.
func (c *client) notBefore(n int) time.Time {
	if n%2 == 1 {
		return time.Time{}
	}
	return c.runAt
}

// form is the document as an upload. Its boundary is always the same, so that a repetition has the same bytes.
func (c *client) form() (body []byte, media string, err error) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	if err := form.SetBoundary("chaos" + c.mark); err != nil {
		return nil, "", err
	}
	part, err := form.CreateFormFile("file", c.mark+".txt")
	if err != nil {
		return nil, "", err
	}
	_, err = io.WriteString(part, c.document)
	err = errors.Join(err, form.WriteField("title", c.mark), form.Close())
	return b.Bytes(), form.FormDataContentType(), err
}

// cancel asks for the end of the job until there is an answer.
func (c *client) cancel(ctx context.Context, job string) {
	for {
		a, err := c.load.send(ctx, c.gateway(), request{
			method: http.MethodPost, path: "/api/v1/jobs/" + job + "/cancel", token: c.load.tokens[c.tenant],
		})
		if err == nil && a.status < http.StatusInternalServerError {
			var out struct {
				Status events.Status `json:"status"`
			}
			c.mu.Lock()
			c.cancelled = a.status == http.StatusOK && json.Unmarshal(a.body, &out) == nil && out.Status == events.StatusCancelled
			c.mu.Unlock()
			return
		}
		if !pause(ctx, c.jitter(50*time.Millisecond, 500*time.Millisecond)) {
			return
		}
	}
}

// wanted is what must come of the job.
func (c *client) wanted() history.Wanted {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := history.Wanted{Status: c.wants, Cancelled: c.cancelled, Text: c.answer}
	if c.cancelAfter > 0 && !c.cancelled {
		w.Status = "" // nobody knows whether the last request to cancel it got through
	}
	return w
}

// told returns the jobs that the client was told of, each once.
func (c *client) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	jobs := slices.Concat(c.answered...)
	slices.Sort(jobs)
	return slices.Compact(jobs)
}

// pause waits, and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
