package httpapi

import (
	"net/http"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/ratelimit"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestKeysAreLimitedApartFromTheirOwners(t *testing.T) {
	t.Parallel()
	client, err := ratelimit.Open(secret.New("redis://127.0.0.1:1/0")) // away, and asked by nobody who wants an answer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	limiter, err := ratelimit.New(client, ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	purse := ratelimit.NewPurse(limiter, ratelimit.PurseOptions{})
	person := &rbac.Principal{UserID: uuid.New(), Tenant: tenant.FromUUID(uuid.New())}
	key := *person
	key.KeyID = uuid.New()
	for name, c := range map[string]struct {
		rates  Rates
		who    *rbac.Principal
		policy string
	}{
		"a person":                     {Rates{User: 1, Key: 2, Organization: 3}, person, `"user";q=2;w=120, "organization";q=6;w=120`},
		"a key":                        {Rates{User: 1, Key: 2, Organization: 3}, &key, `"key";q=4;w=120, "organization";q=6;w=120`},
		"a key when keys are free":     {Rates{User: 1, Organization: 3}, &key, `"organization";q=6;w=120`},
		"a person when all are free":   {Rates{Key: 2}, person, ""},
		"a person, organizations free": {Rates{User: 7}, person, `"user";q=14;w=120`},
	} {
		answer := http.Header{}
		if err := NewLimits(purse, c.rates).caller(t.Context(), answer, c.who); err != nil {
			t.Errorf("%s is refused while Redis is away: %v", name, err)
		}
		if got := answer.Get(headerRateLimitPolicy); got != c.policy {
			t.Errorf("%s is told the policy %q, want %q", name, got, c.policy)
		}
		if got := answer.Get(headerRateLimit); got != "" {
			t.Errorf("%s is told the state %q, which nobody knows while Redis is away", name, got)
		}
	}
}

func TestOneCustomerOfIPv6IsOneAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7":                "192.0.2.7",
		"::ffff:192.0.2.7":         "::ffff:192.0.2.7",
		"2001:db8:1:2:3:4:5:6":     "2001:db8:1:2::/64",
		"2001:db8:1:2::9":          "2001:db8:1:2::/64",
		"fe80::1%eth0":             "fe80::/64",
		"":                         "",
		"not an address, whatever": "not an address, whatever",
	} {
		if got := network(address); got != want {
			t.Errorf("%q counts as %q, want %q", address, got, want)
		}
	}
}
