package chaos

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// receiver is the server of all who have webhooks. It is none of the best: it refuses some messages, is slow with others, and forgets to
// answer. What it does with a message follows from the seed, the message's id and how often it came.
type receiver struct {
	server   *http.Server
	listener net.Listener
	seed     uint64

	mu    sync.Mutex
	hooks map[string]*hook // by path
}

// hook is one webhook.
type hook struct {
	*history.Hook

	secret string
	came   map[string]int
}

func startReceiver(ctx context.Context, seed uint64) (*receiver, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the receiver of webhooks: %w", err)
	}
	r := &receiver{listener: listener, seed: seed, hooks: map[string]*hook{}}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(listener) }()
	return r, nil
}

func (r *receiver) close() { _ = r.server.Close() }

// subscription is what a tenant wants to be told of.
func subscription(tenant int) (types []string, kinds []events.Kind) {
	if tenant == 0 {
		return []string{
			"job.succeeded", "job.failed", "job.cancelled", "job.dead", "document.completed", "document.failed", "document.deleted",
		}, nil
	}
	return []string{"job.failed", "job.cancelled", "document.completed"}, []events.Kind{events.KindAgentRun}
}

// subscribe makes a tenant's webhook, and returns the tenant's organization.
func (r *receiver) subscribe(ctx context.Context, l *load, tenant int) (organization string, err error) {
	types, kinds := subscription(tenant)
	path := "/" + strconv.Itoa(tenant)
	body, err := json.Marshal(map[string]any{
		"url": "http://" + r.listener.Addr().String() + path, "event_types": types, "job_kinds": append([]events.Kind{}, kinds...),
	})
	if err != nil {
		return "", err
	}
	var made struct {
		OrganizationID string `json:"organization_id"`
		Secret         string `json:"secret"`
	}
	a, err := l.send(ctx, l.gateways[0], request{
		method: http.MethodPost, path: "/api/v1/webhooks", token: l.tokens[tenant], body: body, within: loginWithin,
	})
	if err == nil && a.status != http.StatusCreated {
		err = fmt.Errorf("status %d: %s", a.status, a.body)
	}
	if err == nil {
		err = json.Unmarshal(a.body, &made)
	}
	if err != nil {
		return "", fmt.Errorf("make a webhook: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks[path] = &hook{
		Hook:   history.NewHook("the webhook of "+tenants()[tenant].admin, made.OrganizationID, types, kinds),
		secret: made.Secret, came: map[string]int{},
	}
	return made.OrganizationID, nil
}

// all returns the webhooks, when nothing comes any more.
func (r *receiver) all() (hooks []*history.Hook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.hooks {
		hooks = append(hooks, h.Hook)
	}
	slices.SortFunc(hooks, func(a, b *history.Hook) int { return strings.Compare(a.Name, b.Name) })
	return hooks
}

// reception is what the receiver does with a message.
type reception int

const (
	takes reception = iota
	takesSlowly
	fails
	putsOff
	breaksOff
)

// receptionOf decides it.
func receptionOf(seed uint64, id string, came int) reception {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s %d", seed, id, came)
	switch pick := h.Sum64() % 100; {
	case pick < 8:
		return fails
	case pick < 11:
		return putsOff
	case pick < 15:
		return breaksOff
	case pick < 20:
		return takesSlowly
	default:
		return takes
	}
}

// ServeHTTP takes a message.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return // the sender is gone, and knows that it was not heard
	}
	var told struct {
		Type string `json:"type"`
		Data struct {
			Job struct {
				ID string `json:"id"`
			} `json:"job"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &told); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	id := req.Header.Get("Webhook-Id")
	r.mu.Lock()
	h := r.hooks[req.URL.Path]
	if h == nil {
		r.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable) // it is being made
		return
	}
	h.came[id]++
	does := receptionOf(r.seed, id, h.came[id])
	h.Add(history.Arrival{
		ID: id, Type: told.Type, Job: told.Data.Job.ID, Body: body,
		Signed: signed(h.secret, req.Header, body), Taken: does == takes || does == takesSlowly,
	})
	r.mu.Unlock()
	switch does {
	case fails:
		w.WriteHeader(http.StatusServiceUnavailable)
	case putsOff:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case breaksOff:
		panic(http.ErrAbortHandler) // the way net/http breaks a connection
	case takesSlowly:
		pause(req.Context(), time.Second)
		w.WriteHeader(http.StatusOK)
	case takes:
		w.WriteHeader(http.StatusNoContent)
	}
}

// signed verifies a message as its receiver would, by the specification of Standard Webhooks.
func signed(secret string, header http.Header, body []byte) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	_, err = fmt.Fprintf(mac, "%s.%s.%s", header.Get("Webhook-Id"), header.Get("Webhook-Timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return err == nil && slices.ContainsFunc(strings.Fields(header.Get("Webhook-Signature")), func(one string) bool {
		return hmac.Equal([]byte(one), []byte(want))
	})
}

// feedReader follows the feed of an organization for the whole run, over as many connections to whichever gateways as it takes.
type feedReader struct {
	load   *load
	tenant int
	client *client // picks gateways and times

	mu       sync.Mutex
	feed     *history.Feed
	position string
	refused  string
}

// readersOfFeed is how many there are for each organization.
const readersOfFeed = 2

// shown is how many events it was shown.
func (f *feedReader) shown() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.feed.Shown
}

// run reads until ctx ends.
func (f *feedReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		limit := time.Hour // until something else cuts it
		if f.client.jitter(0, 100)%5 > 0 {
			limit = f.client.jitter(200*time.Millisecond, 5*time.Second)
		}
		f.feed.Connections++
		if err := f.read(ctx, limit); err != nil {
			f.mu.Lock()
			f.refused = err.Error()
			f.mu.Unlock()
			return
		}
		pause(ctx, f.client.jitter(20*time.Millisecond, 300*time.Millisecond))
	}
}

// errFeed is the start of each complaint about what the feed answers.
var errFeed = errors.New("follow the feed")

// read reads over one connection until that ends. The error is an answer that no repetition would change.
func (f *feedReader) read(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.client.gateway()+"/api/v1/events?from=beginning", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+f.load.tokens[f.tenant])
	if f.position != "" {
		req.Header.Set("Last-Event-ID", f.position)
	}
	idle := time.AfterFunc(silence, cancel)
	defer idle.Stop()
	resp, err := f.load.http.Do(req)
	if err != nil {
		return nil // it tries again
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("%w: status %d: %s", errFeed, resp.StatusCode, text)
		}
		return nil
	}
	for e, err := range readEvents(resp.Body, func() { idle.Reset(silence) }) {
		if err != nil {
			return nil // the connection broke
		}
		if err := f.take(e); err != nil {
			return err
		}
	}
	return nil
}

// take notes what came.
func (f *feedReader) take(e history.Shown) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position = e.ID
	switch {
	case e.Type == "feed.restarted":
		f.feed.Restarted()
	case slices.Contains(events.Types(), e.Type):
		var told struct {
			JobID string          `json:"job_id"`
			Seq   int64           `json:"seq"`
			Data  json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(e.Data, &told); err != nil {
			return fmt.Errorf("%w: %w: %s", errFeed, err, e.Data)
		}
		f.feed.Add(told.JobID, told.Seq, e.Type, told.Data)
	}
	return nil
}
