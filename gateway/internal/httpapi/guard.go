package httpapi

import (
	"context"
	"strings"

	"github.com/tarento/copilot/gateway/internal/ratelimit"
)

// Guard slows down who guesses passwords or makes accounts in bulk.
type Guard struct {
	limiter *ratelimit.Limiter
	rates   GuardRates
}

// GuardRates are how often something may be tried in a minute; zero is as often as one likes. Twice as many may come at once.
type GuardRates struct {
	LoginsPerAccount, LoginsPerAddress, RegistrationsPerAddress int
	// FailClosed refuses every attempt while attempts cannot be counted. The default is to let every one pass.
	FailClosed bool
}

// NewGuard builds a guard that counts with the limiter.
func NewGuard(l *ratelimit.Limiter, rates GuardRates) *Guard { return &Guard{l, rates} }

// Register counts an attempt to make an account; one too many is fault.RateLimited.
func (g *Guard) Register(ctx context.Context, address string) error {
	return g.check(ctx, "register.address", g.rates.RegistrationsPerAddress, network(address))
}

// Login counts an attempt to prove who one is; one too many is fault.RateLimited. The account counts whether it exists or not.
func (g *Guard) Login(ctx context.Context, account, address string) error {
	if err := g.check(ctx, "login.address", g.rates.LoginsPerAddress, network(address)); err != nil {
		return err
	}
	return g.check(ctx, "login.account", g.rates.LoginsPerAccount, strings.ToLower(account))
}

// check counts exactly, in Redis: guesses are few and worth a question each. What it refuses says which rule it was.
func (g *Guard) check(ctx context.Context, name string, perMinute int, key string) error {
	rule := ratelimit.PerMinute(name, perMinute, 2*perMinute)
	rule.FailClosed = g.rates.FailClosed
	d, err := g.limiter.Allow(ctx, rule, key)
	if err != nil {
		return err
	}
	refusal := d.Err()
	if refusal == nil || d.Degraded {
		return refusal
	}
	p := problemOf(refusal)
	p.header.Set(headerRateLimitPolicy, policyOf(rule))
	p.header.Set(headerRateLimit, stateOf(rule, d))
	return p
}
