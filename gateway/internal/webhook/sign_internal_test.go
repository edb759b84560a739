package webhook

import (
	"net/http"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/egress"
	"github.com/tarento/copilot/pkg/secret"
)

// The example of the specification's reference libraries.
func TestSignaturesAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	const id, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", `{"test": 2432232314}`
	at, known := time.Unix(1614265330, 0), secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got, err := sign(id, at, []byte(body), known); err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
	two, err := sign(id, at, []byte(body), newSecret(), known)
	if err != nil || len(two) != 2*len(want)+1 || two[len(want)+1:] != want || two[:len(want)] == want {
		t.Errorf("with two secrets: %s, %v", two, err)
	}
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?"} {
		if got, err := sign(id, at, nil, secret.New(bad)); err == nil {
			t.Errorf("signed with %q: %s", bad, got)
		}
	}
}

func TestAReceiverMayPutAMessageOff(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-5": 0, "120": 2 * time.Minute, "99999999999": 24 * time.Hour, "Sun, 01 Mar 2026 12:01:00 GMT": time.Minute,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0, "Mon, 01 Mar 2027 12:00:00 GMT": 24 * time.Hour,
	} {
		reply := &egress.Reply{Header: http.Header{"Retry-After": {text}}}
		if got := retryAfter(reply, now); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := retryAfter(nil, now); got != 0 {
		t.Errorf("without an answer: %s", got)
	}
}
