package chaos

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// secretOfHook is base64 of some bytes behind what secrets begin with.
const secretOfHook = "whsec_c29tZSBieXRlcyB0aGF0IG5vYm9keSBrbm93cw=="

// message is one to the webhook as the gateway would send it.
func message(t *testing.T, r *receiver, id, job string) *http.Request {
	t.Helper()
	body := fmt.Sprintf(`{"type":"job.succeeded","data":{"job":{"id":%q}}}`, job)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.listener.Addr().String()+"/0", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secretOfHook, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, "1700000000", body)
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", "1700000000")
	req.Header.Set("Webhook-Signature", "v1,AAAA v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return req
}

func TestTheReceiverTakesWhatItAnswersWithSuccessAndNothingElse(t *testing.T) {
	t.Parallel()
	r, err := startReceiver(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.hooks["/0"] = &hook{
		Hook: history.NewHook("hook", "acme", []string{"job.succeeded"}, nil), secret: secretOfHook, came: map[string]int{},
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answers := map[reception]int{}
	for n := range 60 {
		id, job := fmt.Sprint("msg_", n), fmt.Sprint("job ", n)
		for came := 1; ; came++ {
			want := receptionOf(7, id, came)
			answers[want]++
			resp, err := client.Do(message(t, r, id, job))
			status := 0
			if err == nil {
				status = resp.StatusCode
				_ = resp.Body.Close()
			}
			if expected := map[reception]int{takes: 204, takesSlowly: 200, fails: 503, putsOff: 429, breaksOff: 0}[want]; status != expected {
				t.Fatalf("%s is answered %d the %dth time, want %d", id, status, came, expected)
			}
			if want == takes || want == takesSlowly {
				break
			}
		}
	}
	if answers[fails] == 0 || answers[takes] == 0 {
		t.Errorf("it answered %v", answers)
	}
	h := r.all()[0]
	for n := range 60 {
		h.Check(&history.Job{ID: fmt.Sprint("job ", n), Kind: events.KindAgentRun, Record: &history.Record{
			Status: events.StatusSucceeded, Tenant: "acme",
		}})
	}
	if violations, tally := h.Violations(); len(violations) > 0 || tally.Messages != 60 {
		t.Errorf("%s: %+v", &tally, violations)
	}
}

func TestAForgedMessageIsNotSigned(t *testing.T) {
	t.Parallel()
	r, err := startReceiver(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	good := message(t, r, "msg_1", "one")
	body := []byte(`{"type":"job.succeeded","data":{"job":{"id":"one"}}}`)
	if !signed(secretOfHook, good.Header, body) {
		t.Error("a message that is signed is said not to be")
	}
	other := good.Header.Clone()
	other.Set("Webhook-Id", "msg_2")
	for name, forged := range map[string]bool{
		"another body":   signed(secretOfHook, good.Header, bytes.Replace(body, []byte("one"), []byte("two"), 1)),
		"another id":     signed(secretOfHook, other, body),
		"another secret": signed("whsec_AAAA", good.Header, body),
		"no signature":   signed(secretOfHook, http.Header{}, body),
	} {
		if forged {
			t.Errorf("%s is said to be signed", name)
		}
	}
}

func TestIDsThatComeAloneMoveAReaderOn(t *testing.T) {
	t.Parallel()
	stream := "retry: 1\nid: a\n\n: still here\nid: b\n\nid: c\nevent: job.state\ndata: {}\n\n: nothing\n\nevent: token.expired\ndata: {}\n\nid: d\n"
	var got []string
	for e, err := range readEvents(strings.NewReader(stream), func() {}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID+" "+string(e.Type))
	}
	// What was not complete counts for nothing.
	if want := []string{"a ", "b ", "c job.state", "c token.expired"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}
