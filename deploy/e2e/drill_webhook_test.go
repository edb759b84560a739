package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
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
	copilot "github.com/tarento/copilot/gateway/client"
)

// receiver is somebody's server that takes messages. The first one that it gets of each it leaves unanswered until it is told.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	secret   string
	arrived  map[string]chan struct{} // by job: closed with the first message
	let      map[string]chan struct{} // by job: the first message is answered when it is closed
	messages map[string][]received
}

// received is one message.
type received struct {
	id  string
	err error // what is wrong with it
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{arrived: map[string]chan struct{}{}, let: map[string]chan struct{}{}, messages: map[string][]received{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

// of returns what there is of a job, whichever of message and job becomes known first.
func (r *receiver) of(job string) (arrived, let chan struct{}) {
	if r.arrived[job] == nil {
		r.arrived[job], r.let[job] = make(chan struct{}), make(chan struct{})
	}
	return r.arrived[job], r.let[job]
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var m struct {
		Type string `json:"type"`
		Data struct {
			Job job `json:"job"`
		} `json:"data"`
	}
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	r.mu.Lock()
	if err == nil {
		err = verify(r.secret, req.Header, body, time.Now())
	}
	if err == nil && (m.Type != "job.succeeded" || m.Data.Job.Status != events.StatusSucceeded) {
		err = fmt.Errorf("the message is %s", body)
	}
	id := m.Data.Job.ID
	arrived, let := r.of(id)
	first := len(r.messages[id]) == 0
	r.messages[id] = append(r.messages[id], received{req.Header.Get("Webhook-Id"), err})
	r.mu.Unlock()
	if first {
		close(arrived)
		select {
		case <-let:
		case <-req.Context().Done():
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// verify checks a message as the specification of Standard Webhooks says.
func verify(secret string, header http.Header, body []byte, now time.Time) error {
	id, sent := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	at, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || now.Sub(time.Unix(at, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("sent at %q", sent)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || !strings.HasPrefix(secret, "whsec_") {
		return fmt.Errorf("the secret is none: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, sent, body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if !slices.Contains(strings.Fields(header.Get("Webhook-Signature")), want) || id == "" {
		return fmt.Errorf("message %q is signed %q, want %q", id, header.Get("Webhook-Signature"), want)
	}
	return nil
}

func TestDrillWebhookIsDeliveredAlthoughItsGatewayIsKilled(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	holds, rounds := size(d, 2*time.Second, 10*time.Second), size(d, 1, 5)
	s := newStack(t, setup{
		gateways: 2, without: []string{agentProgram, ingestProgram},
		env: map[string]map[string]string{gatewayProgram: {
			"EGRESS_ALLOWED_NETWORKS": "127.0.0.0/8", "WEBHOOK_LEASE": holds.String(), "WEBHOOK_RETRIES": "200ms,1s,1s",
		}},
	})
	r := newReceiver(t)
	c := s.login(adminAcme)
	webhook, err := c.api().CreateWebhook(t.Context(), copilot.NewWebhook{
		URL: r.URL, EventTypes: []copilot.WebhookEventTypes{"job.succeeded"}, JobKinds: []copilot.WebhookJobKinds{"embedding.create"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.secret = webhook.Secret
	r.mu.Unlock()

	var gaps []time.Duration
	wrong := 0
	for round := range rounds {
		id := c.embed(fmt.Sprintf("Tell me, %d.", round)).ID
		r.mu.Lock()
		arrived, let := r.of(id)
		r.mu.Unlock()
		select {
		case <-arrived:
		case <-time.After(time.Minute):
			t.Fatal("no message came within a minute")
		}
		at := -1
		eventually(t, time.Minute, "a gateway says that it delivers", func() (bool, string) {
			at = slices.IndexFunc(s.gateways, func(g *gateway) bool { return runs(t, g.process, events.KindWebhookDeliver) })
			return at >= 0, "none does"
		})
		s.gateways[at].kill(t)
		killed := time.Now()
		close(let) // the answer finds nobody
		survivor := s.clientOf(s.gateways[1-at]).as(c.token)
		delivered := ""
		eventually(t, time.Minute, "the message is delivered", func() (bool, string) {
			page, err := survivor.api().ListWebhookDeliveries(t.Context(), webhook.ID, copilot.ListWebhookDeliveriesParams{})
			if err != nil {
				return false, err.Error()
			}
			newest := page.Data[0]
			delivered = newest.MessageID
			return len(page.Data) == round+1 && newest.Status == "delivered", fmt.Sprintf("%d deliveries, the newest: %+v", len(page.Data), newest)
		})
		gaps = append(gaps, time.Since(killed))
		r.mu.Lock()
		messages := slices.Clone(r.messages[id])
		r.mu.Unlock()
		good := len(messages) >= 2
		for _, m := range messages {
			good = good && m.err == nil && m.id == delivered
		}
		if !good {
			wrong++
			t.Errorf("the messages of the delivery %s are %+v, want two or more of it, signed", delivered, messages)
		}
		d.sayf("round %d: sent %d times as %s, delivered %s after the gateway's death", round+1, len(messages), delivered, rounded(gaps[round]))
		s.gateways[at].restart(t)
		c = s.clientOf(s.gateways[0]).as(c.token)
	}
	d.none("webhooks: messages lost, unsigned or under another webhook-id, the gateway killed while it sends", wrong, rounds, "")
	d.within(fmt.Sprintf("webhooks: delivered by the other gateway, lease %s", holds), holds+3*time.Second, gaps, 100)
	s.db.awaitAllEnded(time.Minute)
	s.db.verify()
}
