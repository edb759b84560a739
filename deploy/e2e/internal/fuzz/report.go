package fuzz

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Failure is something wrong with an answer, and how to see it again.
type Failure struct {
	// Operation and Number name the case, as replaying takes it.
	Operation string
	Number    int
	// Kind groups failures; Reason says what is wrong with this one.
	Kind, Reason string
	// Who sent the request, and what was odd about it.
	Who string
	Odd []string
	// Curl is the request as a command, with $COPILOT_URL and $TOKEN.
	Curl string
	// Count is how many cases of the operation failed with the kind and the status.
	Count int
}

// Result is what came of a run.
type Result struct {
	Seed       uint64
	Operations int
	Cases      int
	// Failed is how many of the cases failed.
	Failed int
	// Failures are one of each kind, status and operation, with their count.
	Failures []Failure
	// Statuses are how often each was answered.
	Statuses map[int]int
	// Unreached are operations that never answered with a success, so that little was tried of them, and what they answered with.
	Unreached []string
}

// Write writes the failures and the last line that sums up.
func (r Result) Write(out io.Writer) error {
	var text strings.Builder
	for i, f := range r.Failures {
		fmt.Fprintf(&text, "\n%d. %s:%d (%d times, %s)\n   %s\n   sent by %s", i+1, f.Operation, f.Number, f.Count, f.Kind, f.Reason, f.Who)
		if len(f.Odd) > 0 {
			fmt.Fprintf(&text, "; %s", strings.Join(f.Odd, "; "))
		}
		fmt.Fprintf(&text, "\n   %s\n", f.Curl)
	}
	if len(r.Unreached) > 0 {
		fmt.Fprintf(&text, "\nnever a success: %s\n", strings.Join(r.Unreached, ", "))
	}
	fmt.Fprintf(&text, "\nstatuses: %s\nseed: %d\noperations: %d, cases: %d, failures: %d\n",
		counts(r.Statuses), r.Seed, r.Operations, r.Cases, r.Failed)
	_, err := io.WriteString(out, text.String())
	return err
}

// counts writes how often each status was answered.
func counts(statuses map[int]int) string {
	all := make([]string, 0, len(statuses))
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		all = append(all, fmt.Sprintf("%d: %d", status, statuses[status]))
	}
	return strings.Join(all, ", ")
}

// ledger collects what happens, from many goroutines.
type ledger struct {
	mu       sync.Mutex
	cases    int
	failed   int
	failures map[string]*Failure
	statuses map[int]int
	// answered are the statuses by operation, of cases that reached theirs.
	answered map[string]map[int]int
}

func newLedger() *ledger {
	return &ledger{failures: map[string]*Failure{}, statuses: map[int]int{}, answered: map[string]map[int]int{}}
}

// enter counts a case and keeps what is wrong with it. A case without an answer has the status zero.
func (l *ledger) enter(t trial, got answer, wrong []verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cases++
	l.statuses[got.status]++
	if !t.astray {
		if l.answered[t.op.ID] == nil {
			l.answered[t.op.ID] = map[int]int{}
		}
		l.answered[t.op.ID][got.status]++
	}
	l.keep(t, got, wrong)
}

// blame keeps what is wrong with a case that was entered before.
func (l *ledger) blame(t trial, got answer, wrong []verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(t, got, wrong)
}

func (l *ledger) keep(t trial, got answer, wrong []verdict) {
	if len(wrong) > 0 {
		l.failed++
	}
	for _, v := range wrong {
		key := fmt.Sprint(t.op.ID, v.kind, got.status)
		if known, ok := l.failures[key]; ok {
			known.Count++
			continue
		}
		l.failures[key] = &Failure{
			Operation: t.op.ID, Number: t.number, Kind: v.kind, Reason: v.reason, Who: t.who, Odd: t.odd, Curl: curl(t.request), Count: 1,
		}
	}
}

// reached tells whether an operation has answered with a success.
func (l *ledger) reached(op string) bool {
	for status := range l.answered[op] {
		if status/100 == 2 {
			return true
		}
	}
	return false
}

// progress is where the run stands.
func (l *ledger) progress() (cases, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cases, l.failed
}

// sorted are the failures by operation and kind.
func (l *ledger) sorted() []Failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Failure, 0, len(l.failures))
	for _, f := range l.failures {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Number, b.Number),
			cmp.Compare(a.Reason, b.Reason))
	})
	return all
}

// mostShown is how much of an argument a report has.
const mostShown = 2000

// shortened cuts an argument that nobody would type. The case can still be replayed.
func shortened(argument string) string {
	if len(argument) <= mostShown {
		return argument
	}
	start := strings.ToValidUTF8(argument[:mostShown/4], "")
	return fmt.Sprintf("%s... (%d characters; replay the case to send them)", start, len(argument))
}

// curl writes a request as a command for bash. Tokens that work are left out.
func curl(r request) string {
	var out strings.Builder
	out.WriteString("curl -sS -i --path-as-is -X " + r.method + ` "$COPILOT_URL"` + shortened(quote(r.target)))
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		for _, value := range r.header[name] {
			if token, ok := strings.CutPrefix(value, "Bearer "); ok && strings.Count(token, ".") == 2 && len(token) > 100 {
				out.WriteString(` -H "Authorization: Bearer $TOKEN"`)
				continue
			}
			out.WriteString(" -H " + shortened(argument(name+": "+value)))
		}
	}
	switch {
	case len(r.body) == 0 && (r.method == http.MethodPost || r.method == http.MethodPut || r.method == http.MethodPatch):
		out.WriteString(" --data-raw ''")
	case len(r.body) > 0:
		out.WriteString(" --data-binary " + shortened(argument(string(r.body))))
	}
	return out.String()
}

// quote puts a text between single quotes.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// argument writes a text as one word for bash: long runs of one character as a call of printf, what cannot be typed as an escape.
func argument(text string) string {
	const long = 200
	var out, plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			out.WriteString(word(plain.String()))
			plain.Reset()
		}
	}
	for i := 0; i < len(text); {
		_, size := utf8.DecodeRuneInString(text[i:])
		unit := text[i : i+size]
		n := 1
		for strings.HasPrefix(text[i+n*size:], unit) {
			n++
		}
		if n > long && unit != "\x00" {
			flush()
			fmt.Fprintf(&out, `"$(printf -- %s%%.0s {1..%d})"`, word(strings.ReplaceAll(unit, "%", "%%")), n)
		} else {
			plain.WriteString(strings.Repeat(unit, n))
		}
		i += n * size
	}
	flush()
	if out.Len() == 0 {
		return "''"
	}
	return out.String()
}

// word quotes a text, with escapes when it has what cannot be typed.
func word(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }) {
		return quote(text)
	}
	var out strings.Builder
	out.WriteString("$'")
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\'' || c == '\\':
			out.WriteString(`\` + string(c))
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&out, `\x%02x`, c)
		default:
			out.WriteByte(c)
		}
	}
	out.WriteString("'")
	return out.String()
}
