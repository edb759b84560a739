package provider

import "time"

// How a circuit behaves. The script knows these by its arguments, so that they stand here only.
const (
	// failuresToOpen is how many calls have to fail, one after the other, until a provider is taken for dead.
	failuresToOpen = 5
	// steady is how long a provider has to be well until what was before is forgotten: failures below the threshold, and how long
	// the pauses had grown.
	steady = time.Minute
	// firstPause and longestPause bound how long a circuit stays open when the provider did not say. Each pause is twice the last one.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	// askedMax bounds how long the provider is left alone because it asked for it; then it is asked again.
	askedMax = time.Hour
	// probeFor is how long a probe holds its place. One that was not heard of for so long makes room for another.
	probeFor = 30 * time.Second
	// probeAgain is when those come back that found a probe under way.
	probeAgain = time.Second
	// lineMax bounds how far the line of those that wait reaches beyond the moment at which the model can be called again.
	lineMax = 10 * time.Minute
	// abreast is how far apart those that wait come back where no limit says it.
	abreast = 20 * time.Millisecond
)

// state is what a circuit is at a moment.
type state int

const (
	closed state = iota
	halfOpen
	open
)

func (s state) String() string {
	return [...]string{closed: "closed", halfOpen: "half_open", open: "open"}[s]
}

// reason says why a call may not be made now.
type reason int

const (
	admitted reason = iota
	circuitOpen
	circuitProbed
	requestsUsedUp
	tokensUsedUp
)

func (r reason) String() string {
	return [...]string{
		admitted: "admitted", circuitOpen: "open", circuitProbed: "half_open", requestsUsedUp: "requests", tokensUsedUp: "tokens",
	}[r]
}

// outcome is what a call says about its provider.
type outcome int

const (
	// neutral says nothing: the caller left, or the request itself was wrong.
	neutral outcome = iota
	answered
	throttled
	failed
)

func (o outcome) String() string {
	return [...]string{neutral: "neutral", answered: "answered", throttled: "throttled", failed: "failed"}[o]
}

// ask is one call's wish to be made. Amounts are in time: what the call takes from a bucket is how long the bucket needs to refill.
type ask struct {
	requestCost, requestRoom time.Duration
	tokenCost, tokenRoom     time.Duration
	// line is where the caller gets a place if it may not call now.
	line line
}

// line is one of those in which callers wait. Each is told a time behind the one before it in the same line.
type line int

const (
	// noLine is for those who do not wait.
	noLine line = iota
	bulkLine
	interactiveLine
)

// gap is how far this caller keeps from the next one in the line.
func (a ask) gap() time.Duration {
	if gap := max(a.requestCost, a.tokenCost); gap > 0 {
		return gap
	}
	return abreast
}

// report is how an admitted call went.
type report struct {
	outcome outcome
	// epoch is that of the call's admission.
	epoch int64
	// spent corrects what was taken from the bucket of tokens.
	spent time.Duration
	// asked is for how long the provider wants to be left alone; zero when it did not say.
	asked time.Duration
	// jitter multiplies a pause that the provider did not ask for, in thousandths.
	jitter int64
	// gap and line give the caller its place if it has to wait now.
	gap  time.Duration
	line line
}

// answer is what a circuit says.
type answer struct {
	reason reason
	state  state
	epoch  int64
	// wait is when to come back, from now; zero for an admitted call, and after a call that left the circuit closed.
	wait time.Duration
	// until is when the circuit becomes half open, from now; negative when it is already.
	until time.Duration
	// changed says that this report opened or closed the circuit.
	changed bool
}

// circuit is what is known of one model. Moments are microseconds of one clock; zero means never. The script circuit.lua does the
// same on a hash in Redis, and a test compares the two.
type circuit struct {
	until    int64 // open until then, half open after it, closed if zero
	probe    int64 // a probe is under way until then
	epoch    int64 // counts openings and closings, so that late reports are known for what they are
	failures int64 // in a row
	failedAt int64 // the last of them
	pauses   int64 // in a row
	closedAt int64
	requests int64 // when the bucket of requests is full
	tokens   int64 // when the bucket of tokens is full
	// lines say when the next one in each line comes back.
	lines [interactiveLine + 1]int64
}

func (c *circuit) state(now int64) state {
	switch {
	case c.until == 0:
		return closed
	case now < c.until:
		return open
	default:
		return halfOpen
	}
}

// admit decides about a call.
func (c *circuit) admit(now int64, a ask) answer {
	switch {
	case now < c.until:
		return c.refuse(now, circuitOpen, c.until, a.line, a.gap())
	case c.until > 0 && now < c.probe:
		return c.refuse(now, circuitProbed, now+probeAgain.Microseconds(), a.line, a.gap())
	}
	why, ready := admitted, now
	requests, tokens := max(c.requests, now), max(c.tokens, now)
	if at := requests + (a.requestCost - a.requestRoom).Microseconds(); a.requestCost > 0 && at > ready {
		why, ready = requestsUsedUp, at
	}
	// A call that is larger than the bucket waits until the bucket is full, and those after it wait longer for it.
	if at := tokens + (min(a.tokenCost, a.tokenRoom) - a.tokenRoom).Microseconds(); a.tokenCost > 0 && at > ready {
		why, ready = tokensUsedUp, at
	}
	if why != admitted {
		return c.refuse(now, why, ready, a.line, a.gap())
	}
	if a.requestCost > 0 {
		c.requests = requests + a.requestCost.Microseconds()
	}
	if a.tokenCost > 0 {
		c.tokens = tokens + a.tokenCost.Microseconds()
	}
	if c.until > 0 {
		c.probe = now + probeFor.Microseconds()
	}
	return c.say(now, admitted, 0)
}

// refuse tells a caller when to come back: not before ready, and behind those who wait already.
func (c *circuit) refuse(now int64, why reason, ready int64, l line, gap time.Duration) answer {
	at := ready
	if l != noLine {
		at = min(max(ready, c.lines[l]), ready+lineMax.Microseconds())
		c.lines[l] = at + gap.Microseconds()
	}
	return c.say(now, why, at-now)
}

func (c *circuit) say(now int64, why reason, wait int64) answer {
	a := answer{reason: why, state: c.state(now), epoch: c.epoch, wait: microseconds(wait)}
	if c.until > 0 {
		a.until = microseconds(c.until - now)
	}
	return a
}

// settle takes a report.
func (c *circuit) settle(now int64, r report) answer {
	if c.tokens != 0 {
		c.tokens += r.spent.Microseconds()
	}
	asked := min(r.asked, askedMax).Microseconds()
	before := c.epoch
	switch {
	case r.epoch != c.epoch:
		// The call began in another time. Only what the provider asks for still counts.
		if r.outcome == throttled && asked > 0 && c.until > 0 {
			c.until = max(c.until, now+asked)
		}
	case r.outcome == throttled, r.outcome == failed && c.until > 0:
		c.open(now, asked, r.jitter)
	case r.outcome == failed:
		if now-c.failedAt > steady.Microseconds() {
			c.failures = 0
		}
		c.failures++
		c.failedAt = now
		if c.failures >= failuresToOpen {
			c.open(now, asked, r.jitter)
		}
	case r.outcome == answered && c.until > 0:
		c.until, c.probe, c.failures, c.closedAt = 0, 0, 0, now
		c.epoch++
	case r.outcome == answered:
		c.failures = 0
	default:
		c.probe = 0
	}
	var a answer
	if r.outcome >= throttled && now < c.until {
		a = c.refuse(now, circuitOpen, c.until, r.line, r.gap)
	} else {
		a = c.say(now, admitted, 0)
	}
	a.changed = c.epoch != before
	return a
}

func (c *circuit) open(now, asked, jitter int64) {
	if c.until == 0 && now-c.closedAt > steady.Microseconds() {
		c.pauses = 0
	}
	pause := asked
	if pause == 0 {
		pause = min(longestPause.Microseconds(), firstPause.Microseconds()<<min(c.pauses, 10)) * jitter / 1000
	}
	c.pauses++
	c.until, c.probe, c.failures = now+pause, 0, 0
	c.epoch++
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
