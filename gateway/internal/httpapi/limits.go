package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/tarento/copilot/gateway/internal/ratelimit"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/fault"
)

// Rates are how many requests are served in a minute, over all gateways; zero is as many as one likes. Twice as many may come
// at once.
type Rates struct {
	// User is for each person, Key for each API key, and Organization for all people and keys of one.
	User, Key, Organization int
	// Address is for each address of callers who are not known: those of public operations, and whose token is refused.
	Address int
	// FailClosed refuses everything while requests cannot be counted. The default is to let everything pass.
	FailClosed bool
}

// Limits count requests, and tell each caller with the answer how many are left.
type Limits struct {
	purse                 *ratelimit.Purse
	person, key, stranger quota
}

// quota is the limits that one kind of caller has.
type quota struct {
	rules []ratelimit.Rule
	// policy is the value of RateLimit-Policy: what the rules are.
	policy string
}

// NewLimits builds limits that draw from the purse.
func NewLimits(purse *ratelimit.Purse, rates Rates) *Limits {
	rule := func(name string, perMinute int) ratelimit.Rule {
		r := ratelimit.PerMinute(name, perMinute, 2*perMinute)
		r.FailClosed = rates.FailClosed
		return r
	}
	organization := rule("organization", rates.Organization)
	return &Limits{
		purse:    purse,
		person:   newQuota(rule("user", rates.User), organization),
		key:      newQuota(rule("key", rates.Key), organization),
		stranger: newQuota(rule("address", rates.Address)),
	}
}

func newQuota(rules ...ratelimit.Rule) quota {
	q := quota{rules: rules}
	var policies []string
	for _, r := range rules {
		if r.Rate > 0 {
			policies = append(policies, policyOf(r))
		}
	}
	q.policy = strings.Join(policies, ", ")
	return q
}

// The fields of draft-ietf-httpapi-ratelimit-headers, in the spelling of http.Header.
const (
	headerRateLimit       = "Ratelimit"
	headerRateLimitPolicy = "Ratelimit-Policy"
)

// policyOf writes a rule as RateLimit-Policy wants it. The quota is the burst and the window the time in which the rate gives as
// much: in no other pair that means the same rate is what remains never more than the quota.
func policyOf(r ratelimit.Rule) string {
	window := time.Duration(int64(r.Per) * int64(r.Burst) / int64(r.Rate))
	return strconv.Quote(r.Name) + ";q=" + strconv.Itoa(r.Burst) + ";w=" + seconds(window)
}

// stateOf writes a decision as RateLimit wants it: what remains, and in how many seconds it is all of the quota again.
func stateOf(r ratelimit.Rule, d ratelimit.Decision) string {
	b := make([]byte, 0, 48)
	b = strconv.AppendQuote(b, r.Name)
	b = append(b, ";r="...)
	b = strconv.AppendInt(b, int64(d.Remaining), 10)
	b = append(b, ";t="...)
	b = strconv.AppendInt(b, int64((d.Reset+time.Second-1)/time.Second), 10)
	return string(b)
}

// caller counts a request of somebody who is known: a person, or an API key, whose requests are not also those of its owner.
func (l *Limits) caller(ctx context.Context, answer http.Header, p *rbac.Principal) error {
	if !p.IsPerson() {
		return l.key.count(ctx, l.purse, answer, p.KeyID.String(), p.Tenant.String())
	}
	return l.person.count(ctx, l.purse, answer, p.UserID.String(), p.Tenant.String())
}

// unknown counts a request from an address.
func (l *Limits) unknown(ctx context.Context, answer http.Header, address string) error {
	return l.stranger.count(ctx, l.purse, answer, network(address))
}

// count asks the rules in their order, each with its key, until one refuses. The answer tells of the tightest.
func (q *quota) count(ctx context.Context, purse *ratelimit.Purse, answer http.Header, keys ...string) error {
	if q.policy == "" {
		return nil
	}
	answer[headerRateLimitPolicy] = []string{q.policy}
	var tightest ratelimit.Decision
	var refused error
	about := -1
	for i, rule := range q.rules {
		d, err := purse.Allow(ctx, rule, keys[i])
		if err != nil {
			return err
		}
		if d.Limit > 0 && (about < 0 || d.Remaining < tightest.Remaining) {
			tightest, about = d, i
		}
		if refused = d.Err(); refused != nil {
			break
		}
	}
	if about >= 0 {
		answer[headerRateLimit] = []string{stateOf(q.rules[about], tightest)}
	}
	return refused
}

// network is what counts as one address: a whole /64 of IPv6, because that is what a single customer gets.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return address
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}

// countStranger counts the requests of public operations.
func (s *Server) countStranger(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	if err := s.Limits.unknown(ctx.Context(), c.Writer.Header(), requestOf(ctx.Context()).ip); err != nil {
		abort(c, s.failed(ctx.Context(), err))
		return
	}
	next(ctx)
}

// countCaller counts a request once it is clear who makes it. Who could not say so (the refusal of authentication) is counted as a
// stranger, and told of the refusal as long as that is not too often.
func (s *Server) countCaller(ctx huma.Context, p *rbac.Principal, refusal error) error {
	answer := humagin.Unwrap(ctx).Writer.Header()
	if refusal == nil {
		return s.Limits.caller(ctx.Context(), answer, p)
	}
	if fault.Is(refusal, fault.Unauthenticated) {
		if err := s.Limits.unknown(ctx.Context(), answer, requestOf(ctx.Context()).ip); err != nil {
			return err
		}
	}
	return refusal
}
