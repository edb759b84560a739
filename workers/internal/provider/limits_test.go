package provider

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestLimitsAreReadAsOperatorsWriteThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       Limits
		problem    string
	}{
		{name: "nothing is no limit", text: "", want: Limits{}},
		{
			name: "several models", text: "gemini-2.5-flash=rpm:1000,tpm:1000000; *=rpm:60;",
			want: Limits{"gemini-2.5-flash": {Requests: 1000, Tokens: 1_000_000}, "*": {Requests: 60}},
		},
		{name: "one unit is enough", text: "m = tpm:5", want: Limits{"m": {Tokens: 5}}},
		{name: "a model without limits", text: "m", problem: `"m" does not read like`},
		{name: "limits without a model", text: "=rpm:1", problem: "does not read like"},
		{name: "an empty limit", text: "m=", problem: "neither rpm:NUMBER"},
		{name: "another unit", text: "m=rps:1", problem: `the limits of "m": "rps:1" is neither rpm:NUMBER`},
		{name: "no number", text: "m=rpm:many", problem: `rpm must be a whole number from 1 to 1000000000, not "many"`},
		{name: "nothing allowed", text: "m=rpm:0", problem: "from 1"},
		{name: "too much", text: "m=tpm:9999999999", problem: "tpm must be"},
		{name: "the same model twice", text: "m=rpm:1;m=rpm:2", problem: `"m" has limits twice`},
		{name: "the same unit twice", text: "m=rpm:1,rpm:2", problem: "rpm is said twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseLimits(c.text)
			switch {
			case c.problem == "" && (err != nil || !maps.Equal(got, c.want)):
				t.Errorf("got %v, %v", got, err)
			case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
}

func TestTheStarIsTheLimitOfEachModelThatIsNotNamed(t *testing.T) {
	t.Parallel()
	limits := Limits{"named": {Requests: 2}, "*": {Requests: 1}}
	if limits.of("named").Requests != 2 || limits.of("else").Requests != 1 || (Limits{}).of("x") != (Limit{}) {
		t.Error("wrong limits")
	}
}

// TestNoMinuteHoldsMoreThanTheLimit asks as often as it likes, and looks at every minute that begins with an admitted call.
func TestNoMinuteHoldsMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []Limit{
		{Requests: 1},
		{Requests: 2},
		{Requests: 9},
		{Requests: 10},
		{Requests: 61},
		{Requests: 1000},
		{Tokens: 100},
		{Tokens: 30_000},
		{Tokens: 4_000_000},
		{Requests: 60, Tokens: 20_000},
	} {
		random := rand.New(rand.NewPCG(1, uint64(limit.Requests+limit.Tokens)))
		type call struct {
			at     int64
			tokens int
		}
		var calls []call
		var c circuit
		now := time.Now().UnixMicro()
		end := now + 4*time.Minute.Microseconds()
		refused := 0
		for now < end {
			tokens := 1 + random.IntN(int(max(1, limit.Tokens/10)))
			a := c.admit(now, limit.ask(tokens, events.ClassInteractive, noLine))
			if a.reason == admitted {
				calls = append(calls, call{now, tokens})
				continue
			}
			refused++
			if a.wait <= 0 {
				t.Fatalf("%+v: refused without a time to come back", limit)
			}
			now += random.Int64N(2*a.wait.Microseconds()) + 1
		}
		for i, first := range calls {
			var requests, tokens int64
			for _, other := range calls[i:] {
				if other.at-first.at < time.Minute.Microseconds() {
					requests++
					tokens += int64(other.tokens)
				}
			}
			if limit.Requests > 0 && requests > limit.Requests || limit.Tokens > 0 && tokens > limit.Tokens {
				t.Fatalf("%+v: a minute held %d calls with %d tokens", limit, requests, tokens)
			}
		}
		if refused == 0 || len(calls) < 3 {
			t.Errorf("%+v: %d calls, %d refused: nothing was tried", limit, len(calls), refused)
		}
	}
}

func TestTheWholeLimitCanBeUsed(t *testing.T) {
	t.Parallel()
	limit := Limit{Requests: 600}
	var c circuit
	now, calls := time.Now().UnixMicro(), 0
	for end := now + 10*time.Minute.Microseconds(); now < end; {
		if a := c.admit(now, limit.ask(0, events.ClassInteractive, noLine)); a.reason != admitted {
			now += a.wait.Microseconds()
			continue
		}
		calls++
	}
	if calls < 10*540 {
		t.Errorf("%d calls in ten minutes, want nine tenths of 6000 at least", calls)
	}
}

func TestACallLargerThanTheLimitIsMadeWhenTheModelHasRestedAndIsPaidFor(t *testing.T) {
	t.Parallel()
	limit := Limit{Tokens: 1000}
	var c circuit
	now := time.Now().UnixMicro()
	if a := c.admit(now, limit.ask(5000, events.ClassInteractive, noLine)); a.reason != admitted {
		t.Fatalf("refused: %v", a)
	}
	if a := c.admit(now, limit.ask(1, events.ClassInteractive, noLine)); a.reason != tokensUsedUp || a.wait < 4*time.Minute {
		t.Errorf("the next one: %v after %s", a.reason, a.wait)
	}
}

func TestTokensAreCorrectedByWhatTheCallReallyUsed(t *testing.T) {
	t.Parallel()
	limit := Limit{Tokens: 1000}
	for _, c := range []struct {
		name   string
		really int
		wait   bool
	}{
		{"fewer make room", 10, false},
		{"more take room", 300, true},
	} {
		var circuit circuit
		now := time.Now().UnixMicro()
		a := circuit.admit(now, limit.ask(100, events.ClassInteractive, noLine))
		circuit.settle(now, report{
			outcome: answered, epoch: a.epoch, spent: limit.ask(c.really, events.ClassInteractive, noLine).tokenCost - limit.ask(100, events.ClassInteractive, noLine).tokenCost,
		})
		if a := circuit.admit(now, limit.ask(50, events.ClassInteractive, noLine)); (a.wait > 0) != c.wait {
			t.Errorf("%s: the next call waits %s", c.name, a.wait)
		}
	}
}

func TestBulkWorkLeavesRoomForThoseWhomSomebodyWaitsFor(t *testing.T) {
	t.Parallel()
	for _, limit := range []Limit{{Requests: 20}, {Requests: 1000}, {Tokens: 30_000}} {
		var c circuit
		now := time.Now().UnixMicro()
		for end := now + time.Minute.Microseconds(); now < end; now += 10_000 {
			for c.admit(now, limit.ask(100, events.ClassBulk, noLine)).reason == admitted {
			}
		}
		if a := c.admit(now, limit.ask(100, events.ClassInteractive, noLine)); a.reason != admitted {
			t.Errorf("%+v: while bulk work takes all it can, a search waits %s", limit, a.wait)
		}
	}
	if a := (Limit{Requests: 1}).ask(0, events.ClassBulk, noLine); a.requestRoom < a.requestCost {
		t.Error("the smallest limit admits no bulk work at all")
	}
}

func TestEachClassHasALineOfItsOwn(t *testing.T) {
	t.Parallel()
	var c circuit
	now := time.Now().UnixMicro()
	c.open(now, time.Second.Microseconds(), 1000)
	for range 1000 {
		c.admit(now, ask{line: bulkLine})
	}
	if a := c.admit(now, ask{line: interactiveLine}); a.wait != time.Second {
		t.Errorf("a conversation waits %s behind bulk work", a.wait)
	}
}

func TestThoseThatWaitComeBackAsTheLimitAdmitsThem(t *testing.T) {
	t.Parallel()
	limit := Limit{Requests: 600}
	var c circuit
	now := time.Now().UnixMicro()
	for c.admit(now, limit.ask(0, events.ClassInteractive, interactiveLine)).reason == admitted {
	}
	seconds := map[int64]int{}
	for range 2000 {
		a := c.admit(now, limit.ask(0, events.ClassInteractive, interactiveLine))
		seconds[int64(a.wait/time.Second)]++
	}
	for second, n := range seconds {
		if n > 11 {
			t.Errorf("%d come back in second %d", n, second)
		}
	}
	if len(seconds) < 180 {
		t.Errorf("2000 callers at 10 a second are spread over %d seconds", len(seconds))
	}
}
