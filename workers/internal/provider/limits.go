package provider

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
)

// Limit bounds the calls of one model within any minute. Zero means no limit.
type Limit struct {
	// Requests is how many calls may be made.
	Requests int64
	// Tokens is how many tokens they may have together, those of prompts, thoughts and answers alike.
	Tokens int64
}

// Limits are the limits of models by the provider's names for them. "*" stands for each model that is not named: each of them
// has that limit for itself. Nil means no limits.
type Limits map[string]Limit

// maxLimit keeps amounts in microseconds far from overflow.
const maxLimit = 1_000_000_000

// ParseLimits reads limits as an operator writes them: "gemini-2.5-flash=rpm:1000,tpm:1000000;*=rpm:60". The empty text means no
// limits.
func ParseLimits(text string) (Limits, error) {
	limits := Limits{}
	for entry := range strings.SplitSeq(text, ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		model, amounts, ok := strings.Cut(entry, "=")
		if model = strings.TrimSpace(model); !ok || model == "" {
			return nil, fmt.Errorf("%q does not read like model=rpm:60,tpm:100000", entry)
		}
		if _, twice := limits[model]; twice {
			return nil, fmt.Errorf("%q has limits twice", model)
		}
		limit, err := parseLimit(amounts)
		if err != nil {
			return nil, fmt.Errorf("the limits of %q: %w", model, err)
		}
		limits[model] = limit
	}
	return limits, nil
}

func parseLimit(amounts string) (limit Limit, err error) {
	for amount := range strings.SplitSeq(amounts, ",") {
		unit, number, _ := strings.Cut(strings.TrimSpace(amount), ":")
		var into *int64
		switch unit {
		case "rpm":
			into = &limit.Requests
		case "tpm":
			into = &limit.Tokens
		default:
			return limit, fmt.Errorf("%q is neither rpm:NUMBER (requests a minute) nor tpm:NUMBER (tokens a minute)", amount)
		}
		if *into != 0 {
			return limit, fmt.Errorf("%s is said twice", unit)
		}
		if *into, err = strconv.ParseInt(number, 10, 64); err != nil || *into < 1 || *into > maxLimit {
			return limit, fmt.Errorf("%s must be a whole number from 1 to %d, not %q", unit, maxLimit, number)
		}
	}
	return limit, nil
}

// of returns the limit of a model.
func (l Limits) of(model string) Limit {
	if limit, ok := l[model]; ok {
		return limit
	}
	return l["*"]
}

// names returns the models that are named, in order.
func (l Limits) names() []string {
	names := slices.Sorted(maps.Keys(l))
	return slices.DeleteFunc(names, func(name string) bool { return name == "*" })
}

// ask is the wish to make one call of so many tokens. Bulk work leaves a fifth of what may come at once to those whom somebody
// waits for: they find room also while bulk work takes all that comes back.
func (l Limit) ask(tokens int, class events.Class, where line) ask {
	a := ask{line: where}
	if l.Requests > 0 {
		a.requestCost = cost(1, l.Requests)
		a.requestRoom = a.requestCost * time.Duration(share(atOnce(l.Requests), class))
	}
	if l.Tokens > 0 {
		a.tokenCost = cost(int64(max(tokens, 1)), l.Tokens)
		a.tokenRoom = cost(share(atOnce(l.Tokens), class), l.Tokens)
	}
	return a
}

// share is how much of what may come at once is for a class.
func share(n int64, class events.Class) int64 {
	if class == events.ClassInteractive {
		return n
	}
	return max(1, n-(n+4)/5)
}

// atOnce is how much of a limit may be used in one moment: a tenth.
func atOnce(perMinute int64) int64 { return max(1, perMinute/10) }

// cost is how long a bucket takes to get n back. What may come at once is taken off the rate, so that the two together stay within
// the limit in any minute, wherever it begins.
func cost(n, perMinute int64) time.Duration {
	rate := perMinute - atOnce(perMinute) + 1
	return microseconds((n*time.Minute.Microseconds() + rate - 1) / rate)
}
