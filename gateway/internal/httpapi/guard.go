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
}

// NewGuard builds a guard that counts with the limiter.
func NewGuard(l *ratelimit.Limiter, rates GuardRates) *Guard { return &Guard{l, rates} }

// Register counts an attempt to make an account; one too many is fault.RateLimited.
func (g *Guard) Register(ctx context.Context, address string) error {
	return g.check(ctx, "register.address", g.rates.RegistrationsPerAddress, address)
}

// Login counts an attempt to prove who one is; one too many is fault.RateLimited. The account counts whether it exists or not.
func (g *Guard) Login(ctx context.Context, account, address string) error {
	if err := g.check(ctx, "login.address", g.rates.LoginsPerAddress, address); err != nil {
		return err
	}
	return g.check(ctx, "login.account", g.rates.LoginsPerAccount, strings.ToLower(account))
}

func (g *Guard) check(ctx context.Context, rule string, perMinute int, key string) error {
	return g.limiter.Check(ctx, ratelimit.PerMinute(rule, perMinute, 2*perMinute), key)
}
