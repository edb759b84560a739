package ratelimit

import (
	"time"

	"github.com/go-redis/redis_rate/v10"

	"github.com/tarento/copilot/pkg/fault"
)

// Rule is a limit with a name. Two rules with the same key count apart; one rule counts each key apart.
type Rule struct {
	// Name stands in Redis keys and metrics, so it is one of few: "login.account".
	Name string
	// Rate is how many events each key has in every Per, in the long run. Zero or less means no limit.
	Rate int
	// Per is the time that Rate is for; zero means a second.
	Per time.Duration
	// Burst is how many events may come at once after a quiet time; zero means Rate.
	Burst int
	// FailClosed refuses everything while Redis is away. The default is to let everything pass.
	FailClosed bool
}

// PerSecond returns a rule of so many events a second, which fails open.
func PerSecond(name string, rate, burst int) Rule {
	return Rule{Name: name, Rate: rate, Per: time.Second, Burst: burst}
}

// PerMinute returns a rule of so many events a minute, which fails open.
func PerMinute(name string, rate, burst int) Rule {
	return Rule{Name: name, Rate: rate, Per: time.Minute, Burst: burst}
}

// limit is the rule with its defaults, as the script takes it.
func (r Rule) limit() redis_rate.Limit {
	limit := redis_rate.Limit{Rate: r.Rate, Period: r.Per, Burst: r.Burst}
	if limit.Period <= 0 {
		limit.Period = time.Second
	}
	if limit.Burst <= 0 {
		limit.Burst = r.Rate
	}
	return limit
}

// Decision is the answer for one event, with what the RateLimit headers say.
type Decision struct {
	// Allowed reports that the event may happen; it is counted then.
	Allowed bool
	// Limit is how many events may come at once; zero where there is no limit or Redis is away.
	Limit int
	// Remaining is how many more may come right now.
	Remaining int
	// RetryAfter is when the next event would be allowed; zero when this one is.
	RetryAfter time.Duration
	// Reset is when Remaining will be Limit again if nothing more happens.
	Reset time.Duration
	// Degraded reports that Redis was away and the rule decided by itself.
	Degraded bool
}

// Err returns nil for an allowed event, fault.RateLimited with RetryAfter for one too many, and fault.Unavailable for one
// that was refused because Redis is away.
func (d Decision) Err() error {
	switch {
	case d.Allowed:
		return nil
	case d.Degraded:
		return fault.New(fault.Unavailable, "rate.unknown", "This cannot be answered at the moment. Try again shortly.").
			After(d.RetryAfter)
	default:
		return fault.New(fault.RateLimited, "rate.limited", "Too many requests. Wait before the next one.").After(d.RetryAfter)
	}
}
